use tokenpress::kernels::link_pairs;
use tokenpress::readback::HostTensors;
use tokenpress::{Elem, Graph, HostTensor, NONE};

use crate::support::{Case, data};

fn case(batch: u32, entries: u32, tokens: u32, ragged: bool) -> Case {
    let mut graph = Graph::new();
    let mut inputs = HostTensors::new();
    // Some tokens that there are not.
    let mut list = |graph: &mut Graph, name: &str, seed: u64| {
        let drawn = data::integers(seed, (batch * entries) as usize, tokens + tokens / 8 + 1);
        let list = drawn.into_iter().map(|i| if i < tokens { i } else { NONE }).collect();
        inputs.insert(name.to_owned(), HostTensor::u32([batch, entries], list));
        graph.input(name, [batch, entries], Elem::U32)
    };
    let (from, to) = (list(&mut graph, "from", 3), list(&mut graph, "to", 4));
    let lengths = ragged.then(|| {
        let lengths = (0..batch).map(|b| [tokens / 2, 0, u32::MAX, 1][b as usize % 4]).collect();
        inputs.insert("lengths".to_owned(), HostTensor::u32([batch], lengths));
        graph.input("lengths", [batch], Elem::U32)
    });
    let pairs = link_pairs(&mut graph, from, to, tokens, lengths).expect("shapes agree");
    graph.output("pairs", pairs).expect("a name");
    let name = format!("[{batch}, {entries}] of {tokens}{}", if ragged { ", ragged" } else { "" });
    Case { subject: "link_pairs", name, heavy: false, graph, inputs }
}

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (batch, entries, tokens) in [(1, 1, 1), (4, 200, 97), (4, 33, 33), (2, 3000, 64), (4, 5, 300), (0, 3, 4), (2, 0, 40), (2, 3, 0)] {
        for ragged in [false, true] {
            let case = case(batch, entries, tokens, ragged);
            cases.push(case.clone().broken_indices("from", tokens).broken_indices("to", tokens));
            cases.push(case);
        }
    }
    cases
}
