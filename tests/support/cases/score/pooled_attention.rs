use tokenpress::kernels::PooledAttention;
use tokenpress::readback::HostTensors;
use tokenpress::{Elem, Graph, HostTensor};

use crate::support::{Case, data};

fn case([batch, heads, key_heads, frames, channels]: [u32; 5], pool: u32, elem: Elem, ragged: bool) -> Case {
    let mut graph = Graph::new();
    let mut inputs = HostTensors::new();
    let mut heads_of = |name: &str, seed: u64, heads: u32| {
        let shape = [batch, heads, frames, channels];
        inputs.insert(name.to_owned(), data::tensor(shape, elem, &data::normal(seed, shape.iter().product::<u32>() as usize)));
        graph.input(name, shape, elem)
    };
    let (queries, keys) = (heads_of("queries", 5, heads), heads_of("keys", 6, key_heads));
    let lengths = ragged.then(|| {
        let lengths = (0..batch).map(|b| [frames / 2 + 1, 0, u32::MAX, 1][b as usize % 4]).collect();
        inputs.insert("lengths".to_owned(), HostTensor::u32([batch], lengths));
        graph.input("lengths", [batch], Elem::U32)
    });
    let pools = PooledAttention { pool, scale: None }.build(&mut graph, queries, keys, lengths).expect("shapes agree");
    graph.output("received", pools.received).expect("a name");
    graph.output("own", pools.own).expect("a name");
    let name = format!("{elem}[{batch}, {heads} of {key_heads}, {frames}, {channels}] by {pool}");
    Case { subject: "pooled_attention", name, heavy: false, graph, inputs }
}

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for elem in [Elem::F32, Elem::F16] {
        cases.push(case([4, 2, 1, 18, 8], 2, elem, true));
        cases.push(case([1, 3, 3, 33, 5], 3, elem, false));
        // An invocation for a row and a pool: more than a workgroup of them; and the longest, of which only the rows have an invocation each.
        cases.push(case([70, 2, 1, 2, 8], 2, elem, true));
        cases.push(case([4, 2, 2, 15, 5], 3, elem, true));
        cases.push(case([3, 2, 2, 16, 8], 16, elem, false));
    }
    cases.push(case([1, 1, 1, 1, 1], 1, Elem::F32, false));
    cases.push(case([1, 2, 2, 140, 4], 4, Elem::F32, false));
    cases.push(case([0, 2, 2, 4, 4], 2, Elem::F32, false));
    cases.push(case([2, 2, 2, 0, 4], 2, Elem::F32, false));
    cases
}
