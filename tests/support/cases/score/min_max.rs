use tokenpress::kernels::MinMax;
use tokenpress::{Elem, Graph, HostTensor};

use crate::support::{Case, data};

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (tokens, lengths, over_batch, values) in [
        (1, None, false, data::normal(1, 4)),
        (33, None, true, data::normal(2, 4 * 33)),
        (129, Some(vec![129, 0, 77, 900]), false, data::normal(3, 4 * 129)),
        (33, Some(vec![2, 33, 1, 9]), false, data::ties(4, 4 * 33)),
        (33, Some(vec![2, 0, 1, 9]), true, data::normal(6, 4 * 33)),
        (33, Some(vec![0; 4]), true, data::normal(7, 4 * 33)),
        (9, None, false, data::awkward(5, 4 * 9)),
        (0, None, false, Vec::new()),
    ] {
        for (descending, offset, epsilon) in [(false, 0.0, 1e-6), (true, 1e-6, 0.0)] {
            let mut graph = Graph::new();
            let scores = graph.input("scores", [4, tokens], Elem::F32);
            let name = format!("N{tokens} lengths {lengths:?} descending {descending} over the batch {over_batch}");
            let mut inputs: tokenpress::readback::HostTensors =
                [("scores".to_owned(), HostTensor::f32([4, tokens], values.clone()))].into();
            let live = lengths.as_ref().map(|lengths| {
                inputs.insert("lengths".to_owned(), HostTensor::u32([4], lengths.clone()));
                graph.input("lengths", [4], Elem::U32)
            });
            let method = MinMax { descending, over_batch, offset, epsilon };
            let brought = method.build(&mut graph, scores, live).expect("shapes agree");
            graph.output("y", brought).expect("a name");
            let case = Case { subject: "min_max", name, heavy: false, graph, inputs };
            if case.is_ragged() {
                cases.push(case.broken_behind(&[("scores", tokens, 1)]));
            }
            cases.push(case);
        }
    }
    cases
}
