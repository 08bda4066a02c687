//! Order statistics.

use crate::compare::{EPSILON_F32, storage_error};
use crate::tensor::Elem;

/// The quantile of probability `p` of ascending entries: a linear interpolation between the two entries next to the position
/// `p (n - 1)`. It is 0 without entries.
pub fn quantile(sorted: &[f32], p: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return 0.0 };
    let position = p * last as f64;
    let below = (position as usize).min(last);
    let (low, high) = (f64::from(sorted[below]), f64::from(sorted[(below + 1).min(last)]));
    let fraction = position - below as f64;
    if fraction <= 0.0 || low == high { low } else { low + (high - low) * fraction }
}

/// How far [`quantile`] in f32 may be from the exact one.
///
/// The position is computed in whole numbers, to 2^-31, and its fraction is rounded to f32. The error is at most eps, and moves the result
/// by the same share of the gap between neighbours. Near an entry that may be the next gap. The interpolation rounds three values of at
/// most `|low| + |high|`. The bound is infinite if entries are not finite or their difference overflows.
pub fn quantile_bound(sorted: &[f32], p: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return 0.0 };
    let position = p * last as f64;
    let shift = EPSILON_F32;
    let [first, low, high, after] =
        [position - shift, position, position + 1.0, position + 1.0 + shift].map(|at| f64::from(sorted[(at.max(0.0) as usize).min(last)]));
    let exact = p == 0.0 || (first == low && low == high && high == after);
    let gap = (after - first).abs();
    match (exact, gap <= f64::from(f32::MAX)) {
        (true, _) => 0.0,
        (false, true) => shift * gap + 3.0 * EPSILON_F32 * (2.0 * low.abs() + gap) + storage_error(Elem::F32, low.abs() + gap),
        (false, false) => f64::INFINITY,
    }
}

/// `q3 + factor (q3 - q1)` of the quartiles: an entry above it is an outlier (Tukey).
pub fn fence(sorted: &[f32], factor: f32) -> f64 {
    let (lower, upper) = (quantile(sorted, 0.25), quantile(sorted, 0.75));
    if lower == upper { upper } else { upper + f64::from(factor) * (upper - lower) }
}

/// How far [`fence`] in f32 may be from the exact one: the quartiles' errors, and one rounding for each operation.
pub fn fence_bound(sorted: &[f32], factor: f32) -> f64 {
    let (lower, upper, factor) = (quantile(sorted, 0.25), quantile(sorted, 0.75), f64::from(factor).abs());
    let (lower_error, upper_error) = (quantile_bound(sorted, 0.25), quantile_bound(sorted, 0.75));
    if lower == upper && lower_error + upper_error == 0.0 {
        return 0.0;
    }
    let magnitude = upper.abs() + factor * (upper.abs() + lower.abs());
    let error = upper_error + factor * (upper_error + lower_error) + 4.0 * EPSILON_F32 * magnitude;
    match error + magnitude <= f64::from(f32::MAX) {
        true => error + storage_error(Elem::F32, magnitude + error),
        false => f64::INFINITY,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        let sorted = [1.0, 2.0, 4.0, 8.0];
        assert_eq!([0.0, 0.25, 0.5, 0.75, 1.0].map(|p| quantile(&sorted, p)), [1.0, 1.75, 3.0, 5.0, 8.0]);
        assert_eq!((quantile(&[], 0.5), quantile(&[7.0], 0.3)), (0.0, 7.0));
        assert_eq!(fence(&sorted, 1.5), 5.0 + 1.5 * 3.25);
    }

    #[test]
    fn outliers() {
        let mut values: Vec<f32> = (0..24).map(|i| (i * i % 17) as f32 / 100.0).chain([0.9, 0.7]).collect();
        values.sort_by(f32::total_cmp);
        assert!((quantile(&values, 0.25) - 0.02).abs() < 1e-7 && (quantile(&values, 0.75) - 0.145).abs() < 1e-7);
        let fence = fence(&values, 1.5);
        assert!((fence - 0.3325).abs() < 1e-7);
        assert_eq!(values.iter().filter(|v| f64::from(**v) > fence).count(), 2);
        assert_eq!(super::fence(&[0.1; 9], 1.5), f64::from(0.1f32));
    }

    #[test]
    fn bounds_are_small() {
        let sorted: Vec<f32> = (0..100).map(|i| i as f32).collect();
        let bound = quantile_bound(&sorted, 0.3);
        assert!(bound > 0.0 && bound < 300.0 * EPSILON_F32, "{bound}");
        assert!(fence_bound(&sorted, 1.5) < 3000.0 * EPSILON_F32);
        assert_eq!((quantile_bound(&[3.0; 5], 0.3), fence_bound(&[3.0; 5], 1.5)), (0.0, 0.0));
        assert_eq!(quantile_bound(&[f32::MIN, f32::MAX], 0.3), f64::INFINITY);
    }
}
