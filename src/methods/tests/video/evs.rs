//! EVS beside a second formulation.

use super::{cosine, positions, run, video};
use crate::error::Error;
use crate::graph::Graph;
use crate::methods::Evs;
use crate::tensor::Elem;

#[test]
fn a_second_formulation() {
    let (frame, lengths) = (6, [30, 48, 6, 0]);
    let method = Evs { tokens_per_frame: frame, prune: 0.6, floor: 0 };
    let x = video(3, [4, 48, 5]);
    let kept = positions(&run(&x, &lengths, |graph, tokens| Ok(method.build(graph, tokens)?.pruned.compressed)));
    for (b, &live) in lengths.iter().enumerate() {
        let row = |i: u32| &x[(b * 48 + i as usize) * 5..][..5];
        let distance = |i: u32| if i < frame { 255.0 } else { 1.0 - cosine(row(i), row(i - frame)) };
        let mut order: Vec<u32> = (0..live).collect();
        order.sort_by(|&i, &j| distance(j).total_cmp(&distance(i)));
        let mut expected = order[..(frame.min(live)).max((f64::from(live) * 0.4) as u32) as usize].to_vec();
        expected.sort_unstable();
        assert_eq!(kept[b], expected);
    }
}

#[test]
fn more_frames_than_can_be_counted_are_an_error() {
    let mut graph = Graph::new();
    let tokens = graph.tokens("x", [1 << 30, 8, 1], Elem::F32).unwrap();
    let method = Evs { tokens_per_frame: 1, prune: 0.5, floor: 0 };
    assert!(matches!(method.build(&mut graph, &tokens), Err(Error::Shape { argument: "evs: tokens", .. })));
}
