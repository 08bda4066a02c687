use tokenpress::kernels::density_peaks;
use tokenpress::{Elem, Graph, HostTensor};

use crate::support::{Case, data};

fn case(what: &str, elem: Elem, shape: [u32; 3], nearest: u32, values: &[f32], lengths: Option<Vec<u32>>) -> Case {
    let mut graph = Graph::new();
    let mut inputs: tokenpress::readback::HostTensors = [("x".to_owned(), data::tensor(shape, elem, values))].into();
    let name = format!("{what} {elem}{shape:?} {nearest} nearest, lengths {lengths:?}");
    let x = graph.input("x", shape, elem);
    let lengths = lengths.map(|lengths| {
        inputs.insert("lengths".to_owned(), HostTensor::u32([shape[0]], lengths));
        graph.input("lengths", [shape[0]], Elem::U32)
    });
    let peaks = density_peaks(&mut graph, x, nearest, lengths).expect("shapes agree");
    for (name, tensor) in [("density", peaks.density), ("separation", peaks.separation), ("score", peaks.score)] {
        graph.output(name, tensor).expect("a name");
    }
    Case { subject: "density_peaks", name, heavy: false, graph, inputs }
}

pub fn cases() -> Vec<Case> {
    let normal = |len: u32| data::normal(101, len as usize);
    let mut cases = vec![
        case("normal", Elem::F32, [1, 0, 3], 2, &[], None),
        case("normal", Elem::F32, [2, 1, 3], 4, &normal(6), None),
        case("normal", Elem::F32, [3, 33, 8], 5, &normal(3 * 33 * 8), Some(vec![33, 0, 3])),
        case("normal", Elem::F32, [2, 140, 3], 2, &normal(2 * 140 * 3), Some(vec![140, 129])),
        case("normal", Elem::F32, [2, 140, 8], 2, &normal(2 * 140 * 8), Some(vec![140, 129])),
        case("normal", Elem::F16, [1, 40, 5], 4, &normal(200), None),
        case("normal", Elem::F16, [1, 40, 8], 4, &normal(320), None),
        case("short", Elem::F32, [70, 2, 16], 2, &normal(70 * 32), Some((0..70).map(|b| [2, 1, 0, u32::MAX][b % 4]).collect())),
        case("short", Elem::F32, [3, 60, 5], 3, &normal(900), None),
        case("short", Elem::F16, [30, 5, 5], 3, &normal(750), None),
        case("short", Elem::F16, [30, 5, 8], 3, &normal(1200), None),
        case("short rows of every kind", Elem::F32, [20, 4, 2], 3, &data::awkward(104, 160), None),
        case("many tokens of few channels", Elem::F32, [2, 65, 2], 4, &normal(260), None),
        Case { heavy: true, ..case("many", Elem::F32, [66_000, 2, 1], 2, &normal(132_000), None) },
        case("ties", Elem::F32, [2, 80, 2], 4, &data::ties(102, 320), None),
        case("all equal", Elem::F32, [1, 80, 3], 4, &[0.3; 240], None),
        case("rows of every kind", Elem::F32, [2, 80, 2], 3, &data::awkward(103, 320), None),
        case("normal", Elem::F16, [1, 80, 5], 4, &normal(400), None),
        case("normal", Elem::F16, [1, 80, 8], 4, &normal(640), None),
        case("ties", Elem::F32, [2, 40, 2], 4, &data::ties(102, 160), None),
        case("all equal", Elem::F32, [1, 20, 3], 4, &[0.3; 60], None),
        case("rows of every kind", Elem::F32, [2, 40, 2], 3, &data::awkward(103, 160), None),
    ];
    let ragged: Vec<_> = cases.iter().filter(|case| case.is_ragged()).collect();
    let shape = |case: &Case| case.inputs["x"].shape();
    let broken: Vec<_> =
        ragged.into_iter().map(|case| case.broken_behind(&[("x", shape(case).dims()[1], shape(case).dims()[2])])).collect();
    cases.extend(broken);
    cases
}
