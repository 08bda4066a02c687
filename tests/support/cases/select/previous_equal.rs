use tokenpress::kernels::previous_equal;
use tokenpress::{Elem, Graph, HostTensor, NONE};

use crate::support::{Case, data};

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (batch, tokens, labels, ragged) in
        [(1, 1, 1, false), (4, 129, 7, true), (2, 300, 1, false), (1, 257, 400, false), (0, 3, 2, false), (2, 0, 2, false)]
    {
        let mut graph = Graph::new();
        let mut values = data::integers(4, (batch * tokens) as usize, labels);
        values.iter_mut().skip(3).step_by(5).for_each(|label| *label = NONE);
        let x = graph.input("labels", [batch, tokens], Elem::U32);
        let mut inputs: tokenpress::readback::HostTensors = [("labels".to_owned(), HostTensor::u32([batch, tokens], values))].into();
        let lengths = ragged.then(|| {
            inputs.insert(
                "lengths".to_owned(),
                HostTensor::u32([batch], (0..batch).map(|b| [tokens / 2, 0, u32::MAX, 1][b as usize]).collect()),
            );
            graph.input("lengths", [batch], Elem::U32)
        });
        let previous = previous_equal(&mut graph, x, lengths).expect("shapes agree");
        graph.output("previous", previous).expect("a name");
        let name = format!("[{batch}, {tokens}] of {labels} labels");
        let case = Case { subject: "previous_equal", name, heavy: false, graph, inputs };
        if ragged {
            cases.push(case.broken_behind(&[("labels", tokens, 1)]));
        }
        cases.push(case);
    }
    cases
}
