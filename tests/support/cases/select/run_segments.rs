use tokenpress::kernels::{RunSegments, previous_at};
use tokenpress::readback::HostTensors;
use tokenpress::{Elem, Graph, HostTensor};

use crate::support::cases::apply::gather_rows::indices;
use crate::support::{Case, data};

/// Runs of which one in `breaks` tokens starts one; over neighbours `offset` apart, or any links where there is none.
fn case([batch, tokens]: [u32; 2], offset: Option<u32>, breaks: u32, pairs: bool) -> Case {
    let mut graph = Graph::new();
    let elements = (batch * tokens) as usize;
    let joins = data::integers(5, elements, breaks);
    let mut inputs: HostTensors = [("joins".to_owned(), HostTensor::u32([batch, tokens], joins))].into();
    let (previous, lengths) = match offset {
        Some(offset) => (previous_at(&mut graph, tokens, offset), None),
        None => {
            // Some to later tokens and to none.
            let mut links = indices(6, elements, tokens);
            links.iter_mut().enumerate().filter(|(i, _)| i % 2 == 0).for_each(|(i, link)| *link %= (i as u32 % tokens).max(1));
            inputs.insert("previous".to_owned(), HostTensor::u32([batch, tokens], links));
            let lengths = (0..batch).map(|b| [tokens - tokens / 4, 0, u32::MAX, 1][b as usize % 4]).collect();
            inputs.insert("lengths".to_owned(), HostTensor::u32([batch], lengths));
            (graph.input("previous", [batch, tokens], Elem::U32), Some(graph.input("lengths", [batch], Elem::U32)))
        }
    };
    let joins = graph.input("joins", [batch, tokens], Elem::U32);
    let segments = RunSegments { pairs }.build(&mut graph, joins, previous, lengths).expect("shapes agree");
    graph.output("start", segments.start).expect("a name");
    graph.output("starts", segments.starts).expect("a name");
    let name = format!("[{batch}, {tokens}] offset {offset:?}, 1 in {breaks} breaks{}", if pairs { ", pairs" } else { "" });
    Case { subject: "run_segments", name, heavy: false, graph, inputs }
}

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for pairs in [false, true] {
        for (shape, offset, breaks) in [
            ([1, 1], Some(1), 2),
            ([3, 33], Some(1), 3),
            ([2, 1300], Some(1), 1000),
            ([2, 700], Some(1), 9),
            ([2, 600], Some(49), 20),
            ([4, 520], None, 10),
            ([0, 3], Some(1), 2),
            ([2, 0], Some(1), 2),
            // Many rows of a workgroup, the longest of them, and the shortest that has one for itself.
            ([300, 2], Some(1), 3),
            ([41, 63], None, 5),
            ([5, 128], None, 9),
            ([3, 129], None, 9),
        ] {
            cases.push(case(shape, offset, breaks, pairs));
        }
    }
    let ragged: Vec<_> = cases.iter().filter(|case| case.is_ragged()).collect();
    let tokens = |case: &Case| case.inputs["joins"].shape().dims()[1];
    let broken: Vec<_> =
        ragged.into_iter().map(|case| case.broken_behind(&[("joins", tokens(case), 1), ("previous", tokens(case), 1)])).collect();
    cases.extend(broken);
    // Nothing joins.
    cases.push(case([2, 300], Some(1), 1, false));
    cases.push(Case { heavy: true, ..case([70_000, 2], Some(1), 3, false) });
    cases
}
