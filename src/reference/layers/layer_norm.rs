//! Rows without their mean, by their deviation.

use crate::compare::{EPSILON_F32, storage_error};
use crate::tensor::Elem;

/// How the rows of a [`layer_norm`] are scaled.
#[derive(Debug, Clone, Copy)]
pub struct RowScale<'a> {
    /// Channels of a row.
    pub channels: usize,
    /// Whether the mean is subtracted.
    pub subtract_mean: bool,
    /// Added to the variance.
    pub epsilon: f32,
    /// `[C]`; 1 for `None`.
    pub weight: Option<&'a [f32]>,
    /// `[C]`; 0 for `None`.
    pub bias: Option<&'a [f32]>,
}

impl RowScale<'_> {
    /// The mean that is subtracted from a row, and the mean square of what remains.
    fn moments(&self, row: &[f32]) -> (f64, f64) {
        let count = row.len() as f64;
        let mean = if self.subtract_mean { row.iter().map(|&x| f64::from(x)).sum::<f64>() / count } else { 0.0 };
        (mean, row.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / count)
    }

    fn weight(&self, c: usize) -> f64 {
        self.weight.map_or(1.0, |weight| f64::from(weight[c]))
    }

    fn bias(&self, c: usize) -> f64 {
        self.bias.map_or(0.0, |bias| f64::from(bias[c]))
    }
}

/// `y_c = (x_c - mean) / sqrt(mean_c (x_c - mean)^2 + epsilon) * weight_c + bias_c` for every row of `x`.
pub fn layer_norm(x: &[f32], scale: &RowScale<'_>) -> Vec<f64> {
    let mut y = Vec::new();
    for row in x.chunks_exact(scale.channels.max(1)) {
        let (mean, variance) = scale.moments(row);
        let deviation = (variance + f64::from(scale.epsilon)).sqrt();
        y.extend(row.iter().enumerate().map(|(c, &x)| (f64::from(x) - mean) / deviation * scale.weight(c) + scale.bias(c)));
    }
    y
}

/// Largest error of [`layer_norm`] on the GPU, stored as `elem`.
///
/// An ulp is `2 * 2^-24`. A mean of C numbers errs by `s = (C + 4) ulp` relative to the mean of their magnitudes. So the first mean is
/// within `m = s mean |x|`.
///
/// A difference from it is at most `D_c = |x_c - mean| + m`, and within an ulp. The mean of the differences is within
/// `r = (s + ulp) mean D`, and their mean square is within `(s + 3 ulp) mean D^2`. So the variance is within
/// `v = (s + 5 ulp) mean D^2 + 2 m r + r^2`.
///
/// The number to be scaled is within `2 ulp D_c + r`. The scale is within the factor `(1 - v / (variance + epsilon))^(-1/2)`, and 3 ulp
/// for the sum and `inverseSqrt`. Three roundings follow.
pub fn layer_norm_bound(x: &[f32], scale: &RowScale<'_>, elem: Elem) -> Vec<f64> {
    let ulp = 2.0 * EPSILON_F32;
    let count = scale.channels as f64;
    let of_mean = (count + 4.0) * ulp;
    let mut bounds = Vec::new();
    for row in x.chunks_exact(scale.channels.max(1)) {
        let (mean, variance) = scale.moments(row);
        let square = variance + f64::from(scale.epsilon);
        let centred = f64::from(u8::from(scale.subtract_mean));
        let first = centred * of_mean * row.iter().map(|x| f64::from(x.abs())).sum::<f64>() / count;
        let differences: Vec<f64> = row.iter().map(|&x| (f64::from(x) - mean).abs() + first).collect();
        let rest = centred * (of_mean + ulp) * differences.iter().sum::<f64>() / count;
        let of_variance = (of_mean + 5.0 * ulp) * differences.iter().map(|d| d * d).sum::<f64>() / count + 2.0 * first * rest + rest * rest;
        let relative = (of_variance / square).min(1.0);
        let of_scale = (1.0 - relative).powf(-0.5) * (1.0 + 4.0 * ulp) - 1.0;
        for (c, &x) in row.iter().enumerate() {
            let (difference, weight) = ((f64::from(x) - mean).abs(), scale.weight(c).abs() / square.sqrt());
            let moved = 2.0 * ulp * differences[c] + rest + f64::from(f32::MIN_POSITIVE);
            let product = weight * (moved + (difference + moved) * (of_scale + 3.0 * ulp));
            let error = product + ulp * (weight * difference + product + scale.bias(c).abs());
            let bound = error + storage_error(elem, weight * difference + scale.bias(c).abs() + error);
            bounds.push(match bound.is_finite() {
                // The result is NaN, whatever the row holds.
                false if variance.is_nan() => 0.0,
                // A product may pass through infinity.
                _ if weight * difference + product > f64::from(f32::MAX) => f64::INFINITY,
                true => bound,
                false => f64::INFINITY,
            });
        }
    }
    bounds
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: RowScale<'_> = RowScale { channels: 4, subtract_mean: true, epsilon: 1e-12, weight: None, bias: None };

    #[test]
    fn two_hand_made_rows() {
        let layer_norm = |x: &[f32], scale: &RowScale<'_>| -> Vec<f32> { layer_norm(x, scale).iter().map(|y| *y as f32).collect() };
        // Rows of mean 3 and deviation 2, and of no deviation.
        let x = [1.0, 5.0, 1.0, 5.0, 7.0, 7.0, 7.0, 7.0];
        assert_eq!(layer_norm(&x, &PLAIN), [-1.0, 1.0, -1.0, 1.0, 0.0, 0.0, 0.0, 0.0]);
        let scaled = RowScale { weight: Some(&[1.0, 2.0, 3.0, 4.0]), bias: Some(&[0.5, 0.0, -1.0, 1.0]), ..PLAIN };
        assert_eq!(layer_norm(&x, &scaled), [-0.5, 2.0, -4.0, 5.0, 0.5, 0.0, -1.0, 1.0]);
        let root = RowScale { subtract_mean: false, epsilon: 3.0, channels: 8, ..PLAIN };
        // The mean square is 13. RMSNorm subtracts no mean.
        let y = layer_norm(&[1.0, 5.0, 1.0, 5.0, 1.0, 5.0, 1.0, 5.0], &root);
        assert_eq!(y[..2], [0.25, 1.25]);
        assert_eq!(layer_norm(&[], &RowScale { channels: 0, ..PLAIN }), []);
    }

    #[test]
    fn an_offset_costs_little() {
        let x: Vec<f32> = (0..64).map(|i| 1e4 + (i % 7) as f32).collect();
        let bound = layer_norm_bound(&x, &RowScale { channels: 64, epsilon: 1e-5, ..PLAIN }, Elem::F32);
        assert!(bound.iter().all(|b| *b > 0.0 && *b < 1e-4), "{bound:?}");
        let far: Vec<f32> = x.iter().map(|x| x * 1e33).collect();
        // Nor does the size of the numbers.
        let bound = layer_norm_bound(&far, &RowScale { channels: 64, ..PLAIN }, Elem::F32);
        assert!(bound.iter().all(|b| *b < 1e-4), "{bound:?}");
    }
}
