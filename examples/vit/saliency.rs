//! What a photo kept.

use std::collections::HashSet;

use tokenpress::NONE;
use tokenpress::readback::HostTensors;

/// Tokens before the first layer, and those that are alive after each.
pub(crate) fn tokens(layers: usize, outputs: &HostTensors) -> Vec<usize> {
    let mut counts = vec![outputs["features"].shape().dims()[1] as usize];
    for layer in 0..layers {
        let live = match outputs.get(&format!("parent.{layer}")) {
            Some(parent) => parent.integers().iter().filter(|p| **p != NONE).collect::<HashSet<_>>().len(),
            None => counts[layer],
        };
        counts.push(live);
    }
    counts
}

/// Share of the pixels salient in either map that are salient in both: from 1/2 on they are.
pub(crate) fn overlap(a: &[f32], b: &[f32]) -> f64 {
    let pairs = a.iter().zip(b).map(|(a, b)| (*a >= 0.5, *b >= 0.5));
    let (mut both, mut either) = (0u32, 0u32);
    for (a, b) in pairs {
        both += u32::from(a && b);
        either += u32::from(a || b);
    }
    if either == 0 { 1.0 } else { f64::from(both) / f64::from(either) }
}
