use tokenpress::kernels::group_tokens;
use tokenpress::{Elem, Graph, HostTensor, NONE};

use crate::support::{Case, data};

/// Parents below `outputs`, at it, and NONE.
pub fn parents(seed: u64, len: usize, outputs: u32) -> Vec<u32> {
    data::integers(seed, len, outputs + 2).into_iter().map(|p| if p > outputs { NONE } else { p }).collect()
}

fn case(batch: u32, tokens: u32, outputs: u32, parent: Vec<u32>, what: &str) -> Case {
    let mut graph = Graph::new();
    let x = graph.input("parent", [batch, tokens], Elem::U32);
    let groups = group_tokens(&mut graph, x, outputs).expect("a shape");
    graph.output("offsets", groups.offsets).expect("a name");
    graph.output("members", groups.members).expect("a name");
    let name = format!("[{batch}, {tokens}] to {outputs}{what}");
    let inputs = [("parent".to_owned(), HostTensor::u32([batch, tokens], parent))].into();
    Case { subject: "group_tokens", name, heavy: false, graph, inputs }
}

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (batch, tokens, outputs) in [
        (1, 1, 1),
        (2, 2, 1),
        (3, 31, 32),
        (2, 33, 5),
        (1, 127, 300),
        (2, 129, 64),
        (1, 577, 1),
        (2, 1025, 513),
        (0, 5, 2),
        (2, 0, 3),
        (2, 5, 0),
        (300, 2, 2), // many rows of a workgroup
        (41, 63, 7),
        (5, 64, 64), // the longest of them
        (5, 65, 65),
        (7, 3, 200), // more outputs than tokens
        (300, 0, 1),
        // More than llvmpipe's loops have turns.
        (1, 70_000, 3),
    ] {
        let len = (batch * tokens) as usize;
        let any = case(batch, tokens, outputs, parents(31, len, outputs), "");
        cases.push(any.clone().broken_indices("parent", outputs));
        cases.push(any);
        cases.push(case(batch, tokens, outputs, vec![outputs.max(1) - 1; len], " all to one"));
        cases.push(case(batch, tokens, outputs, vec![NONE; len], " none"));
        cases.push(case(batch, tokens, outputs, (0..len as u32).map(|i| i % tokens).collect(), " each to its own"));
    }
    let large = case(1, 16384, 8192, vec![4097; 16384], " all to one");
    cases.push(Case { heavy: true, ..large });
    cases.push(Case { heavy: true, ..case(2, 16384, 8192, parents(32, 2 * 16384, 8192), "") });
    cases.push(Case { heavy: true, ..case(70_000, 2, 2, parents(33, 140_000, 2), "") });
    cases
}
