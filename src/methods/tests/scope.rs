//! SCOPE beside a second formulation, which adds up what every set covers.

use super::video::{cosine, run, video};
use crate::methods::Scope;

/// How much tokens are covered by a set: each as much as it is like the nearest of the set.
fn covered(x: &[Vec<f32>], set: &[usize]) -> f64 {
    x.iter().map(|row| set.iter().map(|s| cosine(row, &x[*s])).fold(0.0, f64::max)).sum()
}

/// The tokens in the order in which the published rule takes them.
fn order(x: &[Vec<f32>], saliency: &[f32], keep: usize, additive: bool) -> Vec<u32> {
    let mut set: Vec<usize> = Vec::new();
    while set.len() < keep.min(x.len()) {
        let value = |j: usize| {
            let gain = covered(x, &[&set[..], &[j]].concat()) - covered(x, &set);
            if additive { gain + f64::from(saliency[j]) } else { gain * f64::from(saliency[j]) }
        };
        let mut best = None;
        for j in (0..x.len()).filter(|j| !set.contains(j)) {
            if best.is_none_or(|(_, largest)| value(j) > largest) {
                best = Some((j, value(j)));
            }
        }
        set.extend(best.map(|(j, _)| j));
    }
    set.into_iter().map(|j| j as u32).collect()
}

#[test]
fn a_second_formulation() {
    let lengths = [48, 30, 1, 0, 5];
    let x = video(4, [5, 48, 6]);
    let saliency: Vec<f32> = video(6, [5, 48, 1]).iter().map(|s| s.abs() + 0.05).collect();
    for (keep, additive, floor) in [(0.25, false, 0), (0.25, true, 0), (0.1, false, 4)] {
        let method = Scope { keep, additive, floor };
        let out = run(&x, &lengths, |graph, tokens| {
            let saliency = graph.constant(crate::HostTensor::f32([5, 48], saliency.clone()));
            let kept = method.build(graph, tokens, saliency)?;
            graph.output("order", kept.selected.indices)?;
            Ok(kept.pruned.compressed)
        });
        let width = out["order"].shape().dims()[1] as usize;
        for (b, &live) in lengths.iter().enumerate() {
            let rows: Vec<_> = (0..live as usize).map(|i| x[(b * 48 + i) * 6..][..6].to_vec()).collect();
            let count = ((f64::from(live) * keep).round_ties_even() as usize).max(1).max(floor as usize);
            let expected = order(&rows, &saliency[b * 48..][..48], count, additive);
            let mut actual = out["order"].integers()[b * width..][..width].to_vec();
            actual.retain(|i| *i != crate::NONE);
            assert_eq!(actual, expected, "row {b}, {method:?}");
            let mut sorted = expected;
            sorted.sort_unstable();
            assert_eq!(super::video::positions(&out)[b], sorted);
        }
    }
}
