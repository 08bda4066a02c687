//! EVS beside a second formulation.

use super::video::{cosine, positions, run, video};
use crate::methods::Evs;

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
