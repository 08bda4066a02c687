//! The mean over all tokens of a function of the cosine to each.

use crate::compare::EPSILON_F32;
use crate::reference::{dot, dot_bound};

/// A function of a cosine.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Affinity {
    /// `c - margin` above the margin, `exp(c - margin) - 1` below: PiToMe's energy.
    Elu {
        /// Finite.
        margin: f32,
    },
    /// `exp(-((1 - c) / width)^2 / 2)`: a density.
    Gaussian {
        /// Above 0, and at least 2^-20.
        width: f32,
    },
}

impl Affinity {
    /// The function, in exact arithmetic.
    pub fn of(self, cosine: f64) -> f64 {
        match self {
            Self::Elu { margin } if cosine > f64::from(margin) => cosine - f64::from(margin),
            Self::Elu { margin } => (cosine - f64::from(margin)).exp_m1(),
            Self::Gaussian { width } => (-((1.0 - cosine) / f64::from(width)).powi(2) / 2.0).exp(),
        }
    }

    /// How far it may be in f32, of a cosine that errs by so much.
    ///
    /// The slope of both pieces of the first function is 1 at most. WGSL's exp is within `3 + 2 |x|` ulp, of two units of roundoff each. The
    /// exponent of the second errs by 9 units of its own: those of the difference and the division, doubled by the square, and two products.
    fn error(self, cosine: f64, error: f64) -> f64 {
        let of_exp = |x: f64, result: f64| 2.0 * (3.0 + 2.0 * x.abs()) * EPSILON_F32 * result + f64::from(f32::MIN_POSITIVE);
        match self {
            Self::Elu { margin } => {
                let above = cosine - f64::from(margin);
                let moved = error + 2.0 * EPSILON_F32 * (above.abs() + error);
                let tail = if above - moved <= 0.0 { of_exp(above, (above + moved).exp().min(1.0)) } else { 0.0 };
                moved + tail + 2.0 * EPSILON_F32 * (1.0 + self.of(cosine).abs())
            }
            Self::Gaussian { width } => {
                let width = f64::from(width);
                let apart = (1.0 - cosine).abs();
                let exponent = |apart: f64| (apart / width).powi(2) / 2.0;
                let (least, most) = ((apart - error).max(0.0), apart + error);
                let wide = [exponent(least) * (1.0 - 16.0 * EPSILON_F32), exponent(most) * (1.0 + 16.0 * EPSILON_F32) + 1e-36];
                let near = self.of(cosine);
                let moved = ((-wide[0]).exp() - near).abs().max(((-wide[1]).exp() - near).abs());
                moved + of_exp(wide[1], (-wide[0]).exp())
            }
        }
    }
}

/// The tokens of one batch row.
#[derive(Debug, Clone, Copy)]
pub struct Crowd<'a> {
    /// Unit rows, `[tokens, channels]`.
    pub unit: &'a [f32],
    /// Norms, `[tokens]`; NaN for rows with a NaN or an infinity.
    pub norm: &'a [f32],
    /// Channels of a row.
    pub channels: usize,
    /// Live tokens.
    pub live: usize,
    /// The function whose mean is taken.
    pub affinity: Affinity,
}

/// `mean_j f(unit_i . unit_j)` of each token over the live tokens without NaN, itself among them, and how far it may be in f32. NaN for rows
/// with a NaN or an infinity, 0 for dead ones.
pub fn mean_affinity(crowd: &Crowd<'_>) -> Vec<(f64, f64)> {
    let row = |token: usize| &crowd.unit[token * crowd.channels..][..crowd.channels];
    let sound: Vec<usize> = (0..crowd.live.min(crowd.norm.len())).filter(|token| !crowd.norm[*token].is_nan()).collect();
    let count = sound.len().max(1) as f64;
    let one = |token: usize| {
        if token >= crowd.live {
            return (0.0, 0.0);
        }
        if crowd.norm[token].is_nan() {
            return (f64::NAN, 0.0);
        }
        let (mut sum, mut magnitude, mut error) = (0.0, 0.0, 0.0);
        for &other in &sound {
            let cosine = dot(row(token), row(other));
            let value = crowd.affinity.of(cosine);
            sum += value;
            magnitude += value.abs();
            error += crowd.affinity.error(cosine, dot_bound(row(token), row(other)));
        }
        // As many sums as tokens at most, and a division.
        (sum / count, (error + (count + 8.0) * EPSILON_F32 * (magnitude + error)) / count + f64::from(f32::MIN_POSITIVE))
    };
    (0..crowd.norm.len()).map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_functions() {
        let (unit, norm) = ([1.0, 0.0, 0.0, 1.0, 0.6, 0.8, 0.0, 0.0], [1.0, 1.0, 1.0, f32::NAN]);
        let of = |affinity, live| {
            let crowd = Crowd { unit: &unit, norm: &norm, channels: 2, live, affinity };
            mean_affinity(&crowd).into_iter().map(|(mean, bound)| [mean, bound]).collect::<Vec<_>>()
        };
        let means = of(Affinity::Elu { margin: 0.5 }, 4);
        let expected = (0.5 + ((-0.5f64).exp() - 1.0) + (f64::from(0.6f32) - 0.5)) / 3.0;
        assert!((means[0][0] - expected).abs() < 1e-12 && means[0][1] < 1e-5);
        assert!(means[3][0].is_nan() && means[3][1] == 0.0);
        let means = of(Affinity::Gaussian { width: 0.5 }, 2);
        assert!((means[1][0] - (1.0 + (-2.0f64).exp()) / 2.0).abs() < 1e-12 && means[1][1] < 1e-5);
        assert_eq!(means[2], [0.0, 0.0]);
    }
}
