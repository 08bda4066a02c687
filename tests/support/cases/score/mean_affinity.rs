use tokenpress::kernels::{Affinity, mean_affinity, row_normalize};
use tokenpress::readback::HostTensors;
use tokenpress::{Elem, Graph, HostTensor};

use crate::support::{Case, data};

fn case(shape: [u32; 3], affinity: Affinity, values: Vec<f32>, what: &str, ragged: bool) -> Case {
    let [batch, tokens, _] = shape;
    let mut graph = Graph::new();
    let x = graph.input("x", shape, Elem::F32);
    let mut inputs: HostTensors = [("x".to_owned(), HostTensor::f32(shape, values))].into();
    let lengths = ragged.then(|| {
        let lengths = (0..batch).map(|b| [tokens / 2, 0, u32::MAX, 1][b as usize % 4]).collect();
        inputs.insert("lengths".to_owned(), HostTensor::u32([batch], lengths));
        graph.input("lengths", [batch], Elem::U32)
    });
    // All rows are normalised: the means have to find the dead ones by themselves.
    let normalized = row_normalize(&mut graph, x, None).expect("shapes agree");
    let mean = mean_affinity(&mut graph, normalized, affinity, lengths).expect("shapes agree");
    graph.output("mean", mean).expect("a name");
    let name = format!("{affinity:?} {shape:?} {what}");
    Case { subject: "mean_affinity", name, heavy: false, graph, inputs }
}

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for affinity in [Affinity::Elu { margin: 0.5 }, Affinity::Elu { margin: -0.25 }, Affinity::Gaussian { width: 0.7 }] {
        for (shape, ragged) in [
            ([1, 1, 1], false),
            ([2, 33, 7], false),
            ([4, 130, 12], true),
            ([4, 65, 33], true),
            ([1, 64, 300], false),
            ([0, 3, 4], false),
            ([2, 0, 4], false),
            ([2, 3, 0], false),
        ] {
            let values = data::normal(9, shape.iter().product::<u32>() as usize);
            cases.push(case(shape, affinity, values, "normal", ragged));
        }
        cases.push(case([2, 70, 3], affinity, data::ties(9, 420), "ties", false));
        cases.push(case([1, 40, 64], affinity, data::normal(9, 64).repeat(40), "all equal", false));
        cases.push(case([4, 60, 2], affinity, data::awkward(9, 480), "awkward", true));
    }
    // So narrow that only equal rows are near.
    cases.push(case([2, 70, 3], Affinity::Gaussian { width: 1e-5 }, data::ties(9, 420), "ties", false));
    let broken = |case: &Case| {
        let shape = case.inputs["x"].shape();
        case.broken_behind(&[("x", shape.dims()[1], shape.dims()[2])])
    };
    let broken: Vec<_> = cases.iter().filter(|case| case.is_ragged()).map(broken).collect();
    cases.extend(broken);
    cases
}
