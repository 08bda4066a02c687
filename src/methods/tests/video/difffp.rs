//! DiffFP beside a second formulation.

use super::{positions, run, video};
use crate::methods::DiffFp;

/// The published rule on one row, frame by frame.
fn kept(x: &[Vec<f64>], frame: usize, threshold: f64, floor: usize) -> Vec<u32> {
    let mut kept = Vec::new();
    for (f, places) in x.chunks(frame).enumerate() {
        let differs = |i: usize| {
            let Some(before) = f.checked_sub(1).map(|f| &x[f * frame + i]) else { return true };
            let apart: f64 = places[i].iter().zip(before).map(|(a, b)| (a - b).abs()).sum();
            255.0 * apart / before.len() as f64 > threshold
        };
        let mut mask: Vec<bool> = (0..places.len()).map(differs).collect();
        if mask.iter().filter(|kept| **kept).count() < floor {
            mask.iter_mut().take(floor).for_each(|kept| *kept = true);
        }
        kept.extend((0..places.len()).filter(|i| mask[*i]).map(|i| (f * frame + i) as u32));
    }
    kept
}

#[test]
fn a_second_formulation() {
    let lengths = [48, 30, 3, 0, 17];
    let mut x = video(9, [5, 48, 8]);
    // The last frames are as they were.
    for i in 30 * 8..48 * 8 {
        x[i] = x[i - 6 * 8];
    }
    for (threshold, floor) in [(0.1, 1), (100.0, 1), (140.0, 3), (1e9, 2), (1e9, 9), (1e9, 0)] {
        let method = DiffFp { tokens_per_frame: 6, threshold, floor };
        let out = positions(&run(&x, &lengths, |graph, tokens| method.build(graph, tokens)));
        for (b, &live) in lengths.iter().enumerate() {
            let row = |i: usize| x[(b * 48 + i) * 8..][..8].iter().map(|v| f64::from(*v)).collect::<Vec<_>>();
            let rows: Vec<_> = (0..live as usize).map(row).collect();
            assert_eq!(out[b], kept(&rows, 6, f64::from(threshold), floor as usize), "row {b}, {method:?}");
        }
    }
}
