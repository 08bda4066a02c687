//! Standard deviations of channels that are scaled to ranges.

use crate::compare::EPSILON_F32;

/// Half of the least range that counts.
const LEAST: f64 = 1.0 / (1u128 << 121) as f64;

/// A token's channels, each scaled to its range; `None` if a number is not finite.
fn scaled(x: &[f32], low: &[f32], high: &[f32]) -> Option<Vec<f64>> {
    if [x, low, high].into_iter().flatten().any(|number| !number.is_finite()) {
        return None;
    }
    let of = |c: usize| {
        let [x, low, high] = [x[c], low[c], high[c]].map(|number| 0.5 * f64::from(number));
        if high - low >= LEAST { (x - low) / (high - low) } else { 0.0 }
    };
    Some((0..x.len()).map(of).collect())
}

/// `sqrt(sum_c (u_c - mean u)^2 / (C - 1))` with `u_c = (x_c - low_c) / (high_c - low_c)`. A range below 2^-120 gives `u_c = 0`. NaN where a
/// number is not finite.
pub fn scaled_deviation(x: &[f32], low: &[f32], high: &[f32]) -> f64 {
    let Some(scaled) = scaled(x, low, high) else { return f64::NAN };
    let mean = scaled.iter().sum::<f64>() / scaled.len().max(1) as f64;
    (scaled.iter().map(|u| (u - mean) * (u - mean)).sum::<f64>() / (scaled.len().max(2) - 1) as f64).sqrt()
}

/// How far [`scaled_deviation`] in f32 may be.
///
/// A difference of halves errs by one unit of roundoff, there are two, and WGSL's division errs by 2.5 ulp, or 5 units: 8 with terms of second
/// order. A denormal number may count as 0: that moves `u_c` by four of the smallest normal numbers over its range. The mean errs by the mean
/// of these and by `C + 6` units for its sum and its division. The norm of what is apart from the mean moves by no more than the norm of all
/// these errors, and its own sum, root and division by `(C + 2) / 2 + 9 + 5` units.
///
/// Beyond 10^15 ranges squares may leave f32's range, and nothing is promised.
pub fn scaled_deviation_bound(x: &[f32], low: &[f32], high: &[f32]) -> f64 {
    let Some(scaled) = scaled(x, low, high) else { return 0.0 };
    if scaled.iter().any(|u| u.abs() > 1e15) {
        return f64::INFINITY;
    }
    let count = scaled.len().max(1) as f64;
    let range = |c: usize| 0.5 * f64::from(high[c]) - 0.5 * f64::from(low[c]);
    let lost = |c: usize| if range(c) >= LEAST { 4.0 * f64::from(f32::MIN_POSITIVE) / range(c) } else { 0.0 };
    let errors: Vec<f64> = scaled.iter().enumerate().map(|(c, u)| 8.0 * EPSILON_F32 * u.abs() + lost(c)).collect();
    let size = scaled.iter().map(|u| u.abs()).sum::<f64>() / count;
    let of_mean = errors.iter().sum::<f64>() / count + (count + 6.0) * EPSILON_F32 * size;
    let mean = scaled.iter().sum::<f64>() / count;
    let apart = scaled.iter().zip(&errors).map(|(u, error)| error + of_mean + EPSILON_F32 * (u - mean).abs());
    let moved = (apart.map(|error| error * error).sum::<f64>() / (scaled.len().max(2) - 1) as f64).sqrt();
    // A square below the smallest normal number may be lost.
    moved + ((count + 2.0) / 2.0 + 14.0) * EPSILON_F32 * (scaled_deviation(x, low, high) + moved) + 2f64.powi(-60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_channels_of_different_ranges() {
        // 1/2 and 1/4 of their ranges, and one that has none.
        let deviation = scaled_deviation(&[5.0, 1.0], &[0.0, 0.0], &[10.0, 4.0]);
        assert_eq!(deviation, (2.0f64 * 0.125 * 0.125).sqrt());
        assert_eq!(scaled_deviation(&[5.0, 1.0], &[0.0, 1.0], &[10.0, 1.0]), (2.0f64 * 0.25 * 0.25).sqrt());
        assert_eq!(scaled_deviation(&[3.0], &[0.0], &[1.0]), 0.0);
        assert!(scaled_deviation(&[3.0, 1.0], &[0.0, f32::NAN], &[1.0, 1.0]).is_nan());
        assert!(scaled_deviation_bound(&[5.0, 1.0], &[0.0, 0.0], &[10.0, 4.0]) < 40.0 * EPSILON_F32);
    }
}
