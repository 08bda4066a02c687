//! Logarithms of token sizes.

use crate::compare::{EPSILON_F32, storage_error};
use crate::tensor::Elem;

/// `ln size[b,j]` of the first `lengths[b]` of each row's `tokens`; 0 behind them.
pub fn log_size(size: &[f32], lengths: &[u32], tokens: usize) -> Vec<f32> {
    let live = |i: usize| i % tokens < lengths[i / tokens] as usize;
    size.iter().enumerate().map(|(i, &s)| if live(i) { f64::from(s).ln() as f32 } else { 0.0 }).collect()
}

/// Largest error of [`log_size`] on the GPU: WGSL's log is within 2^-21 for arguments from 0.5 to 2, and within 3 ulp of any
/// other. A denormal may be taken for 0, and what comes of that or of less is open.
pub fn log_size_bound(size: &[f32], lengths: &[u32], tokens: usize) -> Vec<f64> {
    let bound = |s: f32, log: f64| match s {
        _ if !s.is_normal() || s < 0.0 => f64::INFINITY,
        0.5..=2.0 => 2f64.powi(-21) + storage_error(Elem::F32, log),
        _ => 6.0 * EPSILON_F32 * log.abs() + storage_error(Elem::F32, log),
    };
    let live = |i: usize| i % tokens < lengths[i / tokens] as usize;
    size.iter().enumerate().map(|(i, &s)| if live(i) { bound(s, f64::from(s).ln()) } else { 0.0 }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn live_sizes_only() {
        let sizes = [1.0, 2.0, 0.0, 8.0, 1.0, f32::NAN];
        let ln2 = std::f32::consts::LN_2;
        assert_eq!(log_size(&sizes, &[2, 1], 3), [0.0, ln2, 0.0, 3.0 * ln2, 0.0, 0.0]);
        assert_eq!(
            log_size_bound(&sizes, &[2, 9], 3)[2..],
            [0.0, log_size_bound(&[8.0], &[1], 1)[0], 2f64.powi(-21) + 2f64.powi(-126), f64::INFINITY]
        );
        assert_eq!(log_size(&[], &[1, 1], 0), []);
    }
}
