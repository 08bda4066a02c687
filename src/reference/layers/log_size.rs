//! Logarithms of token sizes.

use crate::compare::{EPSILON_F32, storage_error};
use crate::tensor::Elem;

/// A size that is denormal counts as 0.
fn log(size: f32) -> f64 {
    if size.is_subnormal() { f64::NEG_INFINITY } else { f64::from(size).ln() }
}

/// `ln size[b,j]` of the first `lengths[b]` of each row's `tokens`; 0 after them. The logarithm of 0 or of a denormal size is negative
/// infinity, and that of a negative size is NaN.
pub fn log_size(size: &[f32], lengths: &[u32], tokens: usize) -> Vec<f32> {
    let live = |i: usize| i % tokens < lengths[i / tokens] as usize;
    size.iter().enumerate().map(|(i, &s)| if live(i) { log(s) as f32 } else { 0.0 }).collect()
}

/// Largest error of [`log_size`] on the GPU: WGSL's log is within 2^-21 for arguments from 0.5 to 2, and within 3 ulp of any
/// other. A result that is not finite is exact.
pub fn log_size_bound(size: &[f32], lengths: &[u32], tokens: usize) -> Vec<f64> {
    let bound = |s: f32, log: f64| match s {
        _ if !log.is_finite() => 0.0,
        0.5..=2.0 => 2f64.powi(-21) + storage_error(Elem::F32, log),
        _ => 6.0 * EPSILON_F32 * log.abs() + storage_error(Elem::F32, log),
    };
    let live = |i: usize| i % tokens < lengths[i / tokens] as usize;
    size.iter().enumerate().map(|(i, &s)| if live(i) { bound(s, log(s)) } else { 0.0 }).collect()
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
            [0.0, log_size_bound(&[8.0], &[1], 1)[0], 2f64.powi(-21) + 2f64.powi(-126), 0.0]
        );
        let logs = log_size(&[0.0, 1e-40, f32::INFINITY, -1.0, f32::NAN], &[5], 5);
        assert_eq!(logs[..3], [f32::NEG_INFINITY, f32::NEG_INFINITY, f32::INFINITY]);
        assert!(logs[3].is_nan() && logs[4].is_nan());
        assert_eq!(log_size(&[], &[1, 1], 0), []);
    }
}
