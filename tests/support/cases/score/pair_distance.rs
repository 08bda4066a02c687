use tokenpress::kernels::{Distance, pair_distance, previous_at};
use tokenpress::readback::HostTensors;
use tokenpress::{Elem, Graph, HostTensor};

use crate::support::cases::apply::gather_rows::indices;
use crate::support::{Case, data};

const MEASURES: [Distance; 3] = [Distance::Largest, Distance::MeanAbsolute, Distance::RootMeanSquare];

/// Each token with the one `offset` before it, or with any other where there is none.
fn case(shape: [u32; 3], elem: Elem, measure: Distance, offset: Option<u32>, values: &[f32], what: &str) -> Case {
    let [batch, tokens, _] = shape;
    let mut graph = Graph::new();
    let x = graph.input("x", shape, elem);
    let mut inputs: HostTensors = [("x".to_owned(), data::tensor(shape, elem, values))].into();
    let (previous, lengths) = match offset {
        Some(offset) => (previous_at(&mut graph, tokens, offset), None),
        None => {
            let previous = indices(4, (batch * tokens) as usize, tokens);
            inputs.insert("previous".to_owned(), HostTensor::u32([batch, tokens], previous));
            let lengths = (0..batch).map(|b| [tokens / 2, 0, u32::MAX, 1][b as usize % 4]).collect();
            inputs.insert("lengths".to_owned(), HostTensor::u32([batch], lengths));
            (graph.input("previous", [batch, tokens], Elem::U32), Some(graph.input("lengths", [batch], Elem::U32)))
        }
    };
    let distance = pair_distance(&mut graph, x, previous, measure, lengths).expect("shapes agree");
    graph.output("distance", distance).expect("a name");
    let name = format!("{measure:?} {elem} {shape:?} offset {offset:?} {what}");
    Case { subject: "pair_distance", name, heavy: false, graph, inputs }
}

fn broken(case: &Case) -> Case {
    let shape = case.inputs["x"].shape();
    let (tokens, channels) = (shape.dims()[1], shape.dims()[2]);
    case.clone().broken_indices("previous", tokens).broken_behind(&[("x", tokens, channels), ("previous", tokens, 1)])
}

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (measure, elem) in MEASURES.into_iter().flat_map(|measure| [(measure, Elem::F32), (measure, Elem::F16)]) {
        for (shape, offset) in [
            ([1, 1, 1], Some(1)),
            ([2, 33, 7], Some(1)),
            ([3, 29, 64], Some(8)),
            ([1, 9, 300], Some(3)),
            ([4, 31, 4], None),
            ([4, 17, 33], None),
            ([0, 3, 4], Some(1)),
            ([2, 0, 4], Some(0)),
            ([2, 3, 0], Some(1)),
        ] {
            let values = data::normal(9, shape.iter().product::<u32>() as usize);
            cases.push(case(shape, elem, measure, offset, &values, "normal"));
        }
        cases.push(case([2, 40, 3], elem, measure, Some(1), &data::ties(9, 240), "ties"));
        cases.push(case([4, 30, 4], elem, measure, None, &data::awkward(9, 480), "awkward"));
        cases.push(case([2, 30, 3], elem, measure, Some(1), &data::extremes(9, 180, elem), "extremes"));
    }
    let broken: Vec<_> = cases.iter().filter(|case| case.is_ragged()).map(broken).collect();
    cases.extend(broken);
    cases
}
