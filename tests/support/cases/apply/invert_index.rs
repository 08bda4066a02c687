use tokenpress::kernels::invert_index;
use tokenpress::{Elem, Graph, HostTensor};

use crate::support::Case;
use crate::support::cases::apply::gather_rows::indices;

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (batch, entries, tokens) in [(1, 1, 1), (2, 31, 33), (3, 129, 16), (2, 1025, 1025), (2, 0, 5), (2, 5, 0), (0, 3, 3)] {
        let mut graph = Graph::new();
        let index = graph.input("index", [batch, entries], Elem::U32);
        let inverse = invert_index(&mut graph, index, tokens).expect("shapes agree");
        graph.output("inverse", inverse).expect("a name");
        let index = HostTensor::u32([batch, entries], indices(4, (batch * entries) as usize, tokens));
        let name = format!("[{batch}, {entries}] into {tokens}");
        let case = Case { subject: "invert_index", name, heavy: false, graph, inputs: [("index".to_owned(), index)].into() };
        cases.push(case.clone().broken_indices("index", tokens));
        cases.push(case);
    }
    cases
}
