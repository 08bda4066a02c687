//! Statistics along one axis.

use crate::compare::{EPSILON_F32, storage_error};
use crate::tensor::Elem;

/// The number to which one axis is reduced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Statistic {
    /// `sum_i x_i / n`.
    Mean,
    /// `sum_i x_i`.
    Sum,
    /// The largest; NaN only if every entry is NaN.
    Max,
    /// The smallest; NaN only if every entry is NaN.
    Min,
    /// `sum_i (x_i - mean)^2 / n`, of the entries as a whole population.
    Variance,
    /// `sum_i (x_i - mean)^2 / (n - 1)`, of the entries as a sample; 0 for a single one.
    SampleVariance,
}

/// A statistic of some entries; 0 of none.
pub fn reduce(entries: &[f32], statistic: Statistic) -> f64 {
    let n = entries.len() as f64;
    let sum: f64 = entries.iter().map(|&x| f64::from(x)).sum();
    let squares = || entries.iter().map(|&x| (f64::from(x) - sum / n).powi(2)).sum::<f64>();
    let numbers = || entries.iter().filter(|x| !x.is_nan()).map(|&x| f64::from(x) + 0.0);
    match statistic {
        _ if entries.is_empty() => 0.0,
        Statistic::Mean => sum / n,
        Statistic::Sum => sum,
        Statistic::Max => numbers().reduce(f64::max).unwrap_or(f64::NAN),
        Statistic::Min => numbers().reduce(f64::min).unwrap_or(f64::NAN),
        Statistic::Variance => squares() / n,
        Statistic::SampleVariance if entries.len() == 1 => 0.0,
        Statistic::SampleVariance => squares() / (n - 1.0),
    }
}

/// A statistic of integers; 0 of none. Sums wrap.
pub fn reduce_integers(entries: &[u32], statistic: Statistic) -> u32 {
    match statistic {
        Statistic::Max => entries.iter().copied().max().unwrap_or(0),
        Statistic::Min => entries.iter().copied().min().unwrap_or(0),
        _ => entries.iter().fold(0, |sum, x| sum.wrapping_add(*x)),
    }
}

/// How far [`reduce`] in f32, stored as `elem`, may be from the exact one.
///
/// - A sum of n terms errs by `n eps sum |x|` in any order. A denormal term may be flushed to 0, which adds the smallest normal number for
///   each term. A division errs by 2.5 ulp, 5 eps.
/// - If the mean is off by `m`, each difference errs by `d = m + eps (|x - mean| + m)`. Its square `q` errs by `2 |x - mean| d + d^2`
///   and by `eps q`. The sum of squares errs like every sum.
/// - Maxima and minima are exact.
/// - If a sum leaves f32's range, its terms are scaled down by a power of two. That loses less than what is to spare here.
///
/// A result beyond the range of its type is infinite; [`Comparison::ranged`](crate::compare::Comparison::ranged) checks that.
pub fn reduce_bound(entries: &[f32], statistic: Statistic, elem: Elem) -> f64 {
    let tiny = f64::from(f32::MIN_POSITIVE);
    let n = entries.len() as f64;
    let value = reduce(entries, statistic);
    let magnitude: f64 = entries.iter().map(|x| f64::from(x.abs())).sum();
    let sum_error = n * EPSILON_F32 * magnitude + n * tiny;
    let mean = reduce(entries, Statistic::Mean);
    let mean_error = sum_error / n + 5.0 * EPSILON_F32 * (mean.abs() + sum_error / n) + tiny;
    let mut error = 0.0;
    match statistic {
        _ if entries.is_empty() || !value.is_finite() => return 0.0,
        Statistic::Max | Statistic::Min => return 0.0,
        Statistic::Sum => error += sum_error,
        Statistic::Mean => error += mean_error,
        Statistic::Variance | Statistic::SampleVariance => {
            let (mut squares, mut square_errors) = (0.0, 0.0);
            for &x in entries {
                let difference = (f64::from(x) - mean).abs();
                let off = mean_error + EPSILON_F32 * (difference + mean_error) + tiny;
                let square = (difference + off).powi(2);
                squares += square;
                square_errors += (2.0 * difference + off) * off + EPSILON_F32 * square + tiny;
            }
            let divisor = if statistic == Statistic::Variance { n } else { (n - 1.0).max(1.0) };
            let total = square_errors + n * EPSILON_F32 * squares + n * tiny;
            error += total / divisor + 5.0 * EPSILON_F32 * (value + total / divisor);
        }
    }
    error + storage_error(elem, value.abs() + error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use Statistic::{Max, Mean, Min, SampleVariance, Sum, Variance};

    #[test]
    fn by_hand() {
        let of = |entries: &[f32]| [Mean, Sum, Max, Min, Variance, SampleVariance].map(|s| reduce(entries, s));
        assert_eq!(of(&[1.0, 2.0, 3.0, 6.0]), [3.0, 12.0, 6.0, 1.0, 3.5, 14.0 / 3.0]);
        assert_eq!(of(&[5.0]), [5.0, 5.0, 5.0, 5.0, 0.0, 0.0]);
        assert_eq!(of(&[]), [0.0; 6]);
        assert_eq!([Max, Min].map(|s| reduce(&[f32::NAN, -1.0, 2.0], s)), [2.0, -1.0]);
        assert!(reduce(&[f32::NAN], Max).is_nan() && reduce(&[f32::NAN, 1.0], Mean).is_nan());
        assert!(reduce(&[-0.0, -0.0], Min).is_sign_positive());
        assert_eq!([Sum, Max, Min].map(|s| reduce_integers(&[4, 0, 9], s)), [13, 9, 0]);
        assert_eq!([Sum, Max, Min].map(|s| reduce_integers(&[], s)), [0; 3]);
    }

    #[test]
    fn bounds_are_small() {
        let entries: Vec<f32> = (0..100).map(|i| (i * i % 17) as f32).collect();
        for statistic in [Mean, Sum, Variance, SampleVariance] {
            let (value, bound) = (reduce(&entries, statistic), reduce_bound(&entries, statistic, Elem::F32));
            assert!(bound > 0.0 && bound < 400.0 * EPSILON_F32 * value, "{statistic:?}: {bound} of {value}");
        }
        assert!(reduce_bound(&[60000.0, 60000.0], Sum, Elem::F16) < 128.0);
        assert!(reduce_bound(&[60000.0, 60000.0], Mean, Elem::F16) < 64.0);
        assert!(reduce_bound(&[3e38; 4], Mean, Elem::F32) < 20.0 * EPSILON_F32 * 3e38);
        assert!(reduce_bound(&[1.5e19, -1.5e19], Variance, Elem::F32) < 40.0 * EPSILON_F32 * 2.25e38);
    }
}
