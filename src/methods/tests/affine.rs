//! Learned layers.

use crate::methods::parts::affine::{per_head, repeat};
use crate::{Elem, Error, Graph, HostTensor};

#[test]
fn heads_divide_channels() {
    assert_eq!(per_head(3, 12), Ok(4));
    for heads in [0, 5, 24] {
        assert!(matches!(per_head(heads, 12), Err(Error::Value { argument: "heads", .. })), "{heads}");
    }
}

#[test]
fn learned_tokens_are_repeated() {
    let mut graph = Graph::new();
    let tokens = graph.constant(HostTensor::f32([1, 2, 2], vec![1.0, 2.0, 3.0, 4.0]));
    let all = repeat(&mut graph, "tokens", tokens, 2).and_then(|all| graph.output("all", all));
    assert_eq!(all, Ok(()));
    let out = graph.run_reference(&[].into()).map(|out| out["all"].clone());
    assert_eq!(out, Ok(HostTensor::f32([2, 2, 2], vec![1.0, 2.0, 3.0, 4.0, 1.0, 2.0, 3.0, 4.0])));
    let batch = graph.input("batch", [2, 2, 2], Elem::F32);
    assert!(matches!(repeat(&mut graph, "tokens", batch, 2), Err(Error::Shape { argument: "tokens", .. })));
}
