//! The distance of every token and its partner.

use crate::compare::{EPSILON_F32, flushed};

/// How far two rows are apart.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Distance {
    /// The largest difference of a channel.
    #[default]
    Largest,
    /// The mean of the differences' magnitudes.
    MeanAbsolute,
    /// The root of the mean of their squares.
    RootMeanSquare,
}

/// The [`Distance`] of two rows; 0 for rows without channels, NaN where a number is not finite.
pub fn distance(a: &[f32], b: &[f32], measure: Distance) -> f64 {
    if a.iter().chain(b).any(|number| !number.is_finite()) {
        return f64::NAN;
    }
    let apart = a.iter().zip(b).map(|(a, b)| (f64::from(*a) - f64::from(*b)).abs());
    let count = a.len().max(1) as f64;
    match measure {
        Distance::Largest => apart.fold(0.0, f64::max),
        // A sum of nothing is -0 in Rust.
        Distance::MeanAbsolute => (0.0 + apart.sum::<f64>()) / count,
        Distance::RootMeanSquare => ((0.0 + apart.map(|d| d * d).sum::<f64>()) / count).sqrt(),
    }
}

/// How far a [`distance`] in f32 may be. It is infinite where a sum may leave f32's range.
///
/// A difference errs by one unit of roundoff, and a denormal number may count as 0. A sum of C terms errs by `C + 2` units of the sum, its
/// division by 5, a root by half of what is under it and by 9 of its own.
pub fn distance_bound(a: &[f32], b: &[f32], measure: Distance) -> f64 {
    let exact = distance(a, b, measure);
    if exact.is_nan() || exact == 0.0 && a == b {
        return 0.0;
    }
    let lost: Vec<f64> = a.iter().zip(b).map(|(a, b)| flushed(*a) + flushed(*b) + f64::from(f32::MIN_POSITIVE)).collect();
    let count = a.len().max(1) as f64;
    let in_range = |sum: f64, bound: f64| if sum < 0.99 * f64::from(f32::MAX) { bound } else { f64::INFINITY };
    match measure {
        Distance::Largest => EPSILON_F32 * exact + lost.into_iter().fold(0.0, f64::max),
        Distance::MeanAbsolute => {
            in_range(exact * count, (count + 8.0) * EPSILON_F32 * exact + lost.iter().sum::<f64>() / count + f64::from(f32::MIN_POSITIVE))
        }
        Distance::RootMeanSquare => {
            // By the norm of what is lost of each difference. A square below the smallest normal number may be lost too.
            let moved = (lost.iter().map(|l| l * l).sum::<f64>() / count).sqrt() + 2f64.powi(-60);
            in_range(exact * exact * count, ((count + 9.0) / 2.0 + 10.0) * EPSILON_F32 * (exact + moved) + moved)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_measures() {
        let (a, b) = ([1.0, 2.0, -1.0], [1.0, 5.0, 3.0]);
        let of = |measure| distance(&a, &b, measure);
        assert_eq!(of(Distance::Largest), 4.0);
        assert_eq!(of(Distance::MeanAbsolute), 7.0 / 3.0);
        assert_eq!(of(Distance::RootMeanSquare), (25.0f64 / 3.0).sqrt());
        for measure in [Distance::Largest, Distance::MeanAbsolute, Distance::RootMeanSquare] {
            assert!(distance(&[f32::INFINITY], &[f32::INFINITY], measure).is_nan());
            assert_eq!((distance(&[], &[], measure).to_bits(), distance_bound(&a, &a, measure)), (0, 0.0));
            assert!(distance_bound(&a, &b, measure) < 20.0 * EPSILON_F32 * 4.0);
        }
        assert_eq!(distance_bound(&[f32::MAX], &[1.0], Distance::RootMeanSquare), f64::INFINITY);
    }
}
