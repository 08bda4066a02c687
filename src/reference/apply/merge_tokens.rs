//! Outputs reduced over their members.

use crate::compare::{EPSILON_F32, flushed, storage_error};
use crate::tensor::Elem;

/// How the members of an output become one row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reduce {
    /// `sum_i x_i / count`.
    Mean,
    /// `sum_i x_i`.
    Sum,
    /// The largest; the first of equals; NaN only if every member is NaN.
    Max,
    /// `sum_i w_i x_i / sum_i w_i`; 0 if the weights add up to 0.
    WeightedMean,
    /// `sum_i w_i x_i`.
    WeightedSum,
}

impl Reduce {
    /// Whether it needs weights.
    pub fn is_weighted(self) -> bool {
        matches!(self, Self::WeightedMean | Self::WeightedSum)
    }
}

/// One batch row of a merge.
#[derive(Debug, Clone, Copy)]
pub struct Merge<'a> {
    /// Token rows, `[tokens, channels]`.
    pub x: &'a [f32],
    /// Channels of a row.
    pub channels: usize,
    /// Where each output's members begin, `[outputs + 1]`.
    pub offsets: &'a [u32],
    /// Tokens. A number that is no token of `x` is skipped.
    pub members: &'a [u32],
    /// `[tokens]`, for the weighted reductions.
    pub weights: Option<&'a [f32]>,
}

impl Merge<'_> {
    fn members(&self, output: usize) -> impl Iterator<Item = usize> + Clone {
        let tokens = self.x.len() / self.channels.max(1);
        let end = (self.offsets[output + 1] as usize).min(self.members.len());
        let begin = (self.offsets[output] as usize).min(end);
        self.members[begin..end].iter().map(|&token| token as usize).filter(move |token| *token < tokens)
    }

    fn weight(&self, token: usize) -> f64 {
        self.weights.map_or(1.0, |weights| f64::from(weights[token]))
    }
}

/// Every output of a batch row, `[outputs, channels]`. Sums are in f64.
///
/// An output without members is 0. One with a single member is a copy of that row, except for the weighted sum.
pub fn merge_tokens(merge: &Merge<'_>, reduce: Reduce) -> Vec<f64> {
    let mut merged = Vec::new();
    for output in 0..merge.offsets.len().saturating_sub(1) {
        let members = merge.members(output);
        let count = members.clone().count();
        for c in 0..merge.channels {
            let value = |token: usize| f64::from(merge.x[token * merge.channels + c]);
            let sum: f64 = members.clone().map(value).sum();
            let weighted_sum: f64 = members.clone().map(|i| merge.weight(i) * value(i)).sum();
            let weights: f64 = members.clone().map(|i| merge.weight(i)).sum();
            let first = members.clone().next().map_or(0.0, value);
            merged.push(match reduce {
                _ if count == 0 => 0.0,
                Reduce::WeightedSum => weighted_sum,
                _ if count == 1 => first,
                Reduce::Sum => sum,
                Reduce::Mean => sum / count as f64,
                Reduce::WeightedMean if weights == 0.0 => 0.0,
                Reduce::WeightedMean => weighted_sum / weights,
                Reduce::Max => members.clone().map(value).fold(f64::NAN, |old, new| if new > old || old.is_nan() { new } else { old }),
            });
        }
    }
    merged
}

/// How far [`merge_tokens`] in f32, stored as `elem`, may be from the exact one.
///
/// - A sum of n products in order errs by `(n + 1) eps sum |w x|`. A denormal factor may be flushed to 0, so its product is added. A
///   denormal term may be flushed too, which adds the smallest normal number for each term. A sum of weights errs likewise.
/// - If a sum leaves f32's range, its terms are scaled down by a power of two. That loses less than one `eps sum |w x|`, which is
///   counted above.
/// - A division adds 2.5 ulp, 5 eps. With errors `dN` of the numerator and `dD` of the denominator, the quotient is within
///   `(dN + |N / D| dD) / (|D| - dD)`. The bound is infinite if D may be 0.
/// - Copies and maxima are exact.
///
/// A result beyond the range of its type is infinite; [`Comparison::ranged`](crate::compare::Comparison::ranged) checks that.
pub fn merge_tokens_bound(merge: &Merge<'_>, reduce: Reduce, elem: Elem) -> Vec<f64> {
    let values = merge_tokens(merge, reduce);
    let tiny = f64::from(f32::MIN_POSITIVE);
    let mut bounds = Vec::new();
    for output in 0..merge.offsets.len().saturating_sub(1) {
        let members = merge.members(output);
        let n = members.clone().count() as f64;
        let weight = |i: usize| merge.weights.map_or(1.0, |weights| weights[i]);
        let weights: f64 = members.clone().map(|i| merge.weight(i)).sum();
        let weight_magnitude: f64 = members.clone().map(|i| merge.weight(i).abs()).sum();
        let weight_error =
            n * EPSILON_F32 * weight_magnitude + members.clone().map(|i| flushed(weight(i))).sum::<f64>() + flushed(weights as f32);
        for c in 0..merge.channels {
            let value = values[output * merge.channels + c];
            let exact = matches!(reduce, Reduce::Max) || n == 0.0 || (n == 1.0 && reduce != Reduce::WeightedSum);
            if exact {
                bounds.push(0.0);
                continue;
            }
            let (mut magnitude, mut lost) = (0.0, 0.0);
            for i in members.clone() {
                let (x, weight) = (merge.x[i * merge.channels + c], if reduce.is_weighted() { weight(i) } else { 1.0 });
                magnitude += (f64::from(x) * f64::from(weight)).abs();
                lost += flushed(x) * f64::from(weight.abs()) + f64::from(x.abs()) * flushed(weight) + tiny;
            }
            let sum_error = (n + 1.0) * EPSILON_F32 * magnitude + lost;
            let error = match reduce {
                // Rounding decides whether the divisor is 0.
                Reduce::WeightedMean if weight_magnitude > 0.0 && weights.abs() <= weight_error => f64::INFINITY,
                _ if !value.is_finite() => 0.0,
                Reduce::Mean => sum_error / n + 5.0 * EPSILON_F32 * value.abs(),
                Reduce::WeightedMean if weight_magnitude == 0.0 => 0.0,
                Reduce::WeightedMean => {
                    let quotient = (sum_error + value.abs() * weight_error) / (weights.abs() - weight_error);
                    quotient + 5.0 * EPSILON_F32 * (value.abs() + quotient)
                }
                _ => sum_error,
            };
            bounds.push(if value.is_finite() { error + storage_error(elem, value.abs() + error) } else { error });
        }
    }
    bounds
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::NONE;

    const X: [f32; 10] = [1.0, -2.0, 3.0, 5.0, 8.0, f32::NAN, 4.0, 4.0, -7.0, -0.5];

    fn merge(reduce: Reduce) -> Vec<f64> {
        // Outputs: tokens 0, 1 and 3; none; token 2; tokens 2 and 4.
        let (offsets, members) = ([0, 3, 3, 4, 7], [0, 1, 3, 2, 2, 4, NONE]);
        let weights = [1.0, 3.0, 2.0, 0.0, -2.0];
        merge_tokens(&Merge { x: &X, channels: 2, offsets: &offsets, members: &members, weights: Some(&weights) }, reduce)
    }

    fn same(actual: &[f64], expected: &[f64]) {
        assert!(actual.iter().zip(expected).all(|(a, e)| a == e || (a.is_nan() && e.is_nan())), "{actual:?}, not {expected:?}");
        assert_eq!(actual.len(), expected.len());
    }

    #[test]
    fn by_hand() {
        let nan = f64::NAN;
        same(&merge(Reduce::Sum), &[8.0, 7.0, 0.0, 0.0, 8.0, nan, 1.0, nan]);
        same(&merge(Reduce::Mean), &[8.0 / 3.0, 7.0 / 3.0, 0.0, 0.0, 8.0, nan, 0.5, nan]);
        same(&merge(Reduce::Max), &[4.0, 5.0, 0.0, 0.0, 8.0, nan, 8.0, -0.5]);
        same(&merge(Reduce::WeightedSum), &[10.0, 13.0, 0.0, 0.0, 16.0, nan, 30.0, nan]);
        same(&merge(Reduce::WeightedMean), &[2.5, 3.25, 0.0, 0.0, 8.0, nan, 0.0, 0.0]);
    }

    #[test]
    fn a_mean_is_a_weighted_mean_of_ones_and_a_sum_over_the_count() {
        let x: Vec<f32> = (0..60).map(|i| (i * i % 17) as f32 - 8.0).collect();
        let (offsets, members) = ([0, 7, 20], (0..20).rev().collect::<Vec<u32>>());
        let merge = Merge { x: &x, channels: 3, offsets: &offsets, members: &members, weights: Some(&[1.0; 20]) };
        let [mean, weighted, sum] = [Reduce::Mean, Reduce::WeightedMean, Reduce::Sum].map(|r| merge_tokens(&merge, r));
        assert_eq!(mean, weighted);
        for (i, value) in mean.iter().enumerate() {
            assert_eq!(*value, sum[i] / if i < 3 { 7.0 } else { 13.0 });
            assert_eq!(sum[i], merge.members(i / 3).map(|t| f64::from(x[t * 3 + i % 3])).sum::<f64>());
        }
    }

    #[test]
    fn bounds_are_small() {
        let merge = Merge { x: &[3.0, 5.0], channels: 1, offsets: &[0, 2], members: &[0, 1], weights: None };
        let bound = merge_tokens_bound(&merge, Reduce::Mean, Elem::F32)[0];
        assert!(bound > 0.0 && bound < 40.0 * EPSILON_F32, "{bound}");
        let merge = Merge { x: &[60000.0, 60000.0], ..merge };
        assert!(merge_tokens_bound(&merge, Reduce::Sum, Elem::F16)[0] < 128.0);
        assert!(merge_tokens_bound(&merge, Reduce::Mean, Elem::F16)[0] < 64.0);
        let merge = Merge { x: &[3e38, 3e38], ..merge };
        assert!(merge_tokens_bound(&merge, Reduce::Mean, Elem::F32)[0] < 40.0 * EPSILON_F32 * 3e38);
    }
}
