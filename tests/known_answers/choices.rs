//! Choices among scores of which some are no numbers.

use tokenpress::kernels::{TopK, TopKInputs};
use tokenpress::methods::EVit;
use tokenpress::{Elem, Graph, HostTensor};

use super::Known;

pub fn all() -> Vec<Known> {
    vec![
        evit("a patch whose key has a NaN is not chosen for it", f32::NAN, [0.0, 1.0, 2.0]),
        evit("a patch whose logit is infinite is chosen first", f32::INFINITY, [0.0, 7.0, 1.0]),
        top_k(),
    ]
}

/// Ten patches behind a class token, the seventh with a broken key, of which two stay. A NaN makes all scores of the class token's row
/// NaN: then the first patches stay. An infinite logit saturates, and takes all.
fn evit(name: &'static str, broken: f32, expected: [f64; 3]) -> Known {
    let mut graph = Graph::new();
    let x = graph.tokens("x", [1, 11, 2], Elem::F32).expect("a shape");
    let queries = graph.input("queries", [1, 1, 11, 2], Elem::F32);
    let keys = graph.input("keys", [1, 1, 11, 2], Elem::F32);
    let chosen = EVit { keep: 0.2, fuse: false }.build(&mut graph, &x, queries, keys).expect("shapes agree");
    graph.output("chosen", chosen.selection.indices).expect("a name");
    let mut key = vec![0.5; 22];
    key[14] = broken;
    let inputs = [
        ("x".to_owned(), HostTensor::f32([1, 11, 2], vec![1.0; 22])),
        ("queries".to_owned(), HostTensor::f32([1, 1, 11, 2], vec![1.0; 22])),
        ("keys".to_owned(), HostTensor::f32([1, 1, 11, 2], key)),
    ];
    Known { name, graph, inputs: inputs.into(), outputs: vec![("chosen", expected.to_vec(), 0.0)] }
}

/// Infinities are numbers, and NaN comes last.
fn top_k() -> Known {
    let mut graph = Graph::new();
    let scores = graph.input("scores", [1, 6], Elem::F32);
    let selection = TopK { k: 6, ..TopK::default() }.select(&mut graph, TopKInputs::new(scores)).expect("a shape");
    graph.output("order", selection.indices).expect("a name");
    let scores = vec![f32::NAN, f32::NEG_INFINITY, 3.0, f32::INFINITY, -f32::NAN, -3.0];
    let inputs = [("scores".to_owned(), HostTensor::f32([1, 6], scores))].into();
    Known { name: "NaN is chosen last", graph, inputs, outputs: vec![("order", vec![3.0, 2.0, 5.0, 1.0, 0.0, 4.0], 0.0)] }
}
