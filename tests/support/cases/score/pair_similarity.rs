use tokenpress::kernels::{pair_similarity, previous_at, row_normalize};
use tokenpress::readback::HostTensors;
use tokenpress::{Elem, Graph, HostTensor};

use crate::support::cases::apply::gather_rows::indices;
use crate::support::{Case, data};

/// Each token with the one `offset` before it, or with any other where there is none.
fn case([batch, tokens, channels]: [u32; 3], offset: Option<u32>, values: Vec<f32>, what: &str) -> Case {
    let mut graph = Graph::new();
    let x = graph.input("x", [batch, tokens, channels], Elem::F32);
    let mut inputs: HostTensors = [("x".to_owned(), HostTensor::f32([batch, tokens, channels], values))].into();
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
    // All rows are normalised: the pairs have to find the dead ones by themselves.
    let normalized = row_normalize(&mut graph, x, None).expect("shapes agree");
    let similarity = pair_similarity(&mut graph, normalized, previous, lengths).expect("shapes agree");
    graph.output("similarity", similarity).expect("a name");
    let name = format!("[{batch}, {tokens}, {channels}] offset {offset:?}{what}");
    Case { subject: "pair_similarity", name, heavy: false, graph, inputs }
}

fn broken(case: &Case) -> Case {
    let shape = case.inputs["x"].shape();
    let (tokens, channels) = (shape.dims()[1], shape.dims()[2]);
    case.clone().broken_indices("previous", tokens).broken_behind(&[("x", tokens, channels), ("previous", tokens, 1)])
}

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (shape, offset) in [
        ([1, 1, 1], Some(1)),
        ([2, 33, 7], Some(1)),
        ([3, 129, 64], Some(32)),
        ([1, 300, 132], Some(300)),
        ([4, 31, 4], None),
        ([4, 17, 33], None),
        ([0, 3, 4], Some(1)),
        ([2, 0, 4], Some(0)),
        ([2, 3, 0], Some(1)),
    ] {
        let values = data::normal(9, shape.iter().product::<u32>() as usize);
        cases.push(case(shape, offset, values, ""));
    }
    cases.push(case([2, 40, 3], Some(1), data::ties(9, 240), " ties"));
    // A cosine of 1, and of nearly 1, by width.
    for channels in [3, 64, 1000, 1024] {
        let equal = data::normal(9, channels as usize).repeat(40);
        let near = equal.iter().zip(data::normal(10, equal.len())).map(|(x, noise)| x + 3e-3 * noise).collect();
        cases.push(case([1, 40, channels], Some(1), equal, " all equal"));
        cases.push(case([1, 40, channels], Some(1), near, " all nearly equal"));
    }
    cases.push(case([4, 60, 2], None, data::awkward(9, 480), " awkward"));
    let broken: Vec<_> = cases.iter().filter(|case| case.is_ragged()).map(broken).collect();
    cases.extend(broken);
    cases
}
