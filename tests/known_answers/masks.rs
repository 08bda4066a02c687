//! Softmax, masks, and rows that see nothing.

use tokenpress::kernels::{AttentionInputs, AttentionScore};
use tokenpress::{Elem, Graph, HostTensor};

use super::Known;

pub fn all() -> Vec<Known> {
    vec![equal_keys_share("four keys share a row's attention", 0.0)]
}

/// One row, four keys with equal logits, and this bias on every key.
fn equal_keys_share(name: &'static str, bias: f32) -> Known {
    let mut graph = Graph::new();
    let inputs = AttentionInputs {
        queries: graph.input("queries", [1, 1, 1, 1], Elem::F32),
        keys: graph.input("keys", [1, 1, 4, 1], Elem::F32),
        bias: Some(graph.input("bias", [1, 4], Elem::F32)),
        lengths: None,
        query_lengths: None,
    };
    let importance = AttentionScore::default().score(&mut graph, inputs).expect("shapes agree");
    graph.output("score", importance.score).expect("a name");
    let tensor = |name: &str, shape: [u32; 4], value: f32| {
        (name.to_owned(), HostTensor::f32(shape, vec![value; shape.iter().product::<u32>() as usize]))
    };
    let inputs = [
        tensor("queries", [1, 1, 1, 1], 0.0),
        tensor("keys", [1, 1, 4, 1], 0.0),
        ("bias".to_owned(), HostTensor::f32([1, 4], vec![bias; 4])),
    ];
    Known { name, graph, inputs: inputs.into(), outputs: vec![("score", vec![0.25; 4], 1e-6)] }
}
