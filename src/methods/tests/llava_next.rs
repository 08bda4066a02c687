//! LLaVA-NeXT's sizes and tiles.

use crate::methods::{LlavaNext, Unpadding};
use crate::{Elem, Graph, HostTensor};

const TALL: LlavaNext =
    LlavaNext { edge: 2, tiles: [2, 1], image: [100, 50], unpadding: Unpadding::Transformers, most_tiles: None, newline: None };

#[test]
fn sizes() {
    // A canvas of 4 x 2: the image fills it, is narrower than a token, is wider.
    assert_eq!(TALL.unpadded(), [4, 2]);
    assert_eq!(LlavaNext { image: [100, 20], ..TALL }.unpadded(), [4, 0]);
    assert_eq!(LlavaNext { image: [30, 60], ..TALL }.unpadded(), [2, 2]);
    let wide = LlavaNext { edge: 24, tiles: [1, 4], image: [300, 900], most_tiles: Some(2), ..TALL };
    assert_eq!(wide.unpadded(), [24, 72]);
    assert_eq!(wide.outputs(), [19, 58]);
    assert_eq!(LlavaNext { most_tiles: Some(3), ..wide }.outputs(), [24, 72]);
}

#[test]
fn tiles_without_their_padding() {
    let mut graph = Graph::new();
    let x = graph.input("x", [1, 3, 4, 1], Elem::F32);
    let newline = Some(graph.constant(HostTensor::f32([1], vec![-1.0])));
    let y = LlavaNext { image: [30, 60], newline, ..TALL }.build(&mut graph, x).expect("valid options");
    graph.output("y", y).expect("a new name");
    let x = HostTensor::f32([1, 3, 4, 1], (0..12).map(|i| i as f32).collect());
    let outputs = graph.run_reference(&[("x".to_owned(), x)].into()).expect("the graph's own inputs");
    assert_eq!(outputs["y"].floats(), [0.0, 1.0, 2.0, 3.0, 6.0, 7.0, -1.0, 8.0, 9.0, -1.0]);
}

#[test]
fn what_is_refused() {
    let mut graph = Graph::new();
    let x = graph.input("x", [1, 3, 4, 1], Elem::F32);
    assert!(TALL.build(&mut graph, x).is_ok());
    for wrong in [
        LlavaNext { image: [0, 1], ..TALL },
        LlavaNext { edge: 0, ..TALL },
        LlavaNext { most_tiles: Some(0), ..TALL },
        LlavaNext { tiles: [1, 1], ..TALL },
        LlavaNext { tiles: [u32::MAX, u32::MAX], ..TALL },
        LlavaNext { edge: u32::MAX, ..TALL },
    ] {
        assert!(wrong.build(&mut graph, x).is_err(), "{wrong:?}");
    }
}
