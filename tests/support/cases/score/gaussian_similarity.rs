use tokenpress::kernels::gaussian_similarity;
use tokenpress::readback::HostTensors;
use tokenpress::{Elem, Graph, HostTensor};

use crate::support::{Case, data};

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (shape, ragged) in [
        ([1, 1, 1], false),
        ([4, 33, 12], true),
        ([2, 31, 7], false),
        ([1, 129, 64], false),
        ([0, 3, 4], false),
        ([2, 0, 4], false),
        ([2, 3, 0], false),
    ] {
        let [batch, tokens, channels] = shape;
        let mut graph = Graph::new();
        let values = |seed, len: u32| data::normal(seed, len as usize).iter().map(|v| 0.3 * v).collect();
        let x = graph.input("x", shape, Elem::F32);
        let centers = graph.input("centers", [batch, channels], Elem::F32);
        let mut inputs: HostTensors = [
            ("x".to_owned(), HostTensor::f32(shape, values(3, batch * tokens * channels))),
            ("centers".to_owned(), HostTensor::f32([batch, channels], values(4, batch * channels))),
        ]
        .into();
        let lengths = ragged.then(|| {
            inputs.insert(
                "lengths".to_owned(),
                HostTensor::u32([batch], (0..batch).map(|b| [tokens / 2, 0, u32::MAX, 1][b as usize]).collect()),
            );
            graph.input("lengths", [batch], Elem::U32)
        });
        let similarity = gaussian_similarity(&mut graph, x, centers, lengths).expect("shapes agree");
        graph.output("similarity", similarity).expect("a name");
        let case = Case { subject: "gaussian_similarity", name: format!("{shape:?}"), heavy: false, graph, inputs };
        if ragged {
            let lengths = case.inputs["lengths"].integers().to_vec();
            let empty = case.clone().broken("centers", channels as usize, |b| lengths[b] == 0);
            cases.push(empty.broken_behind(&[("x", tokens, channels)]));
            // Rows that are alive, too.
            let awkward = HostTensor::f32(shape, data::awkward(5, (batch * tokens * channels) as usize));
            let inputs = case.inputs.clone().into_iter().chain([("x".to_owned(), awkward)]).collect();
            cases.push(Case { name: format!("{shape:?} of every kind"), inputs, ..case.clone() });
        }
        cases.push(case);
    }
    cases
}
