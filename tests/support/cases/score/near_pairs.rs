use tokenpress::kernels::{NearPairs, row_normalize};
use tokenpress::readback::HostTensors;
use tokenpress::{Elem, Graph, HostTensor};

use crate::support::{Case, data};

fn case(shape: [u32; 3], options: NearPairs, values: Vec<f32>, what: &str, ragged: bool) -> Case {
    let [batch, tokens, _] = shape;
    let mut graph = Graph::new();
    let x = graph.input("x", shape, Elem::F32);
    let mut inputs: HostTensors = [("x".to_owned(), HostTensor::f32(shape, values))].into();
    let lengths = ragged.then(|| {
        let lengths = (0..batch).map(|b| [tokens / 2, 0, u32::MAX, 1][b as usize % 4]).collect();
        inputs.insert("lengths".to_owned(), HostTensor::u32([batch], lengths));
        graph.input("lengths", [batch], Elem::U32)
    });
    // All rows are normalised: the pairs have to find the dead ones by themselves.
    let normalized = row_normalize(&mut graph, x, None).expect("shapes agree");
    let near = options.build(&mut graph, normalized, lengths).expect("shapes agree");
    graph.output("pairs", near.pairs).expect("a name");
    graph.output("degree", near.degree).expect("a name");
    graph.output("last", near.last).expect("a name");
    let name = format!("{options:?} {shape:?} {what}");
    Case { subject: "near_pairs", name, heavy: false, graph, inputs }
}

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for or_equal in [false, true] {
        let options = NearPairs { threshold: 0.3, or_equal };
        for (shape, ragged) in [
            ([1, 1, 1], false),
            ([2, 33, 7], false),
            ([4, 130, 12], true),
            ([4, 65, 33], true),
            ([1, 64, 300], false),
            ([4, 97, 4], true),
            ([0, 3, 4], false),
            ([2, 0, 4], false),
            ([2, 3, 0], false),
        ] {
            let values = data::normal(9, shape.iter().product::<u32>() as usize);
            cases.push(case(shape, options, values, "normal", ragged));
        }
        // Cosines of exactly the threshold, of zero rows and of orthogonal ones.
        let zero = NearPairs { threshold: 0.0, or_equal };
        let axes: Vec<f32> = (0..2 * 70 * 3).map(|i| if i / 3 % 4 == i % 3 { 2.0 } else { 0.0 }).collect();
        cases.push(case([2, 70, 3], zero, axes, "axes", false));
        cases.push(case([4, 60, 2], NearPairs { threshold: 0.5, or_equal }, data::awkward(9, 480), "awkward", true));
        cases.push(case([1, 40, 64], NearPairs { threshold: 0.9, or_equal }, data::normal(9, 64).repeat(40), "all equal", false));
        cases.push(case([2, 33, 4], NearPairs { threshold: -2.0, or_equal }, data::normal(9, 264), "all", false));
    }
    let broken = |case: &Case| {
        let shape = case.inputs["x"].shape();
        case.broken_behind(&[("x", shape.dims()[1], shape.dims()[2])])
    };
    let broken: Vec<_> = cases.iter().filter(|case| case.is_ragged()).map(broken).collect();
    cases.extend(broken);
    cases
}
