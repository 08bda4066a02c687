//! Choices among scores of which some are no numbers.

use tokenpress::kernels::{TopK, TopKInputs};
use tokenpress::{Elem, Graph, HostTensor};

use super::Known;

pub fn all() -> Vec<Known> {
    vec![top_k()]
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
