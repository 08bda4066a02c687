//! Runs of tokens that are similar to all members of the run.

use crate::compare::EPSILON_F32;

/// The tokens of one batch row.
#[derive(Debug, Clone, Copy)]
pub struct Growth<'a> {
    /// Unit rows, `[tokens, channels]`.
    pub unit: &'a [f32],
    /// Norms, `[tokens]`; NaN for rows with a NaN or an infinity.
    pub norm: &'a [f32],
    /// Channels of a row.
    pub channels: usize,
    /// Live tokens.
    pub live: u32,
    /// Least mean cosine to all members of a run.
    pub threshold: f32,
}

impl Growth<'_> {
    fn row(&self, token: usize) -> &[f32] {
        &self.unit[token * self.channels..][..self.channels]
    }

    fn tokens(&self) -> usize {
        (self.live as usize).min(self.norm.len())
    }

    /// Mean cosine of a token and each token before it, from `first` on, rounded to f32. `None` if there is no such token, or one of them
    /// has a NaN or an infinity. Each cosine is `1 - |u_s - u_t|^2 / 2`, which is exactly 1 for equal rows. With a zero row it is 0.
    pub fn mean(&self, first: usize, token: usize) -> Option<f64> {
        if first >= token || (first..=token).any(|t| self.norm[t].is_nan()) {
            return None;
        }
        let sum: f64 = self.compared(first, token).map(|member| 1.0 - square(self.row(member), self.row(token)) / 2.0).sum();
        Some(f64::from((sum / (token - first) as f64) as f32))
    }

    /// The members from `first` on whose cosine with a token is not 0 by definition.
    fn compared(&self, first: usize, token: usize) -> impl Iterator<Item = usize> {
        (first..token).filter(move |&member| self.norm[member] != 0.0 && self.norm[token] != 0.0)
    }

    /// How far that mean in f32 may be off, for n members. Within this distance of the threshold either answer is right.
    ///
    /// - The GPU adds up `sum_s |d_s|^2 / 2`, `d_t . sum_s d_s` and `n |d_t|^2 / 2`, where d are rows less the first row, and divides by n.
    ///   It errs by `(n + C / 128 + min(C, 128) + 8) eps` of the magnitude of these terms. Each of 128 invocations adds its channels. Then
    ///   their sums are added in order, and after them those of the members.
    /// - Three numbers near 1 are rounded, and so is the product of the threshold and n.
    /// - Numbers may be flushed to 0, which adds the smallest normal number for each.
    ///
    /// If all rows are equal, or one is 0, nothing is rounded.
    pub fn error(&self, first: usize, token: usize) -> f64 {
        let Some(anchor) = self.compared(first, token).next() else { return 0.0 };
        let (members, channels) = ((token - first) as f64, self.channels as f64);
        let start = self.row(anchor);
        let apart = square(start, self.row(token)).sqrt();
        let others: Vec<f64> = self.compared(first, token).map(|member| square(start, self.row(member)).sqrt()).collect();
        let magnitude = others.iter().map(|d| (d + apart) * (d + apart) / 2.0).sum::<f64>() / members;
        if magnitude == 0.0 && others.len() == token - first {
            return 0.0;
        }
        let flushed = 2.0 * channels * (members + 1.0) * f64::from(f32::MIN_POSITIVE);
        let near_one = 3.0 * EPSILON_F32 * (1.0 + magnitude) + EPSILON_F32 * f64::from(self.threshold.abs());
        (members + (channels / 128.0).ceil() + channels.min(128.0) + 8.0) * EPSILON_F32 * magnitude + near_one + flushed
    }
}

fn square(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum()
}

/// 1 for each token that joins the run before it: its mean cosine to all members is at least the threshold. 0 for a token that starts a
/// run, and for a dead one.
pub fn grow_runs(growth: &Growth<'_>) -> Vec<u32> {
    let mut joins = Vec::new();
    let mut first = 0;
    for token in 0..growth.tokens() {
        let joined = growth.mean(first, token).is_some_and(|mean| mean >= f64::from(growth.threshold));
        first = if joined { first } else { token };
        joins.push(u32::from(joined));
    }
    joins.resize(growth.norm.len(), 0);
    joins
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_must_be_like_all_members() {
        // Unit vectors at 0, 50, 100 and 60 degrees: neighbours are alike, the first and the third are not.
        let unit: Vec<f32> = [0.0f32, 50.0, 100.0, 60.0].iter().flat_map(|a| [a.to_radians().cos(), a.to_radians().sin()]).collect();
        let growth = |threshold, live| Growth { unit: &unit, norm: &[1.0; 4], channels: 2, live, threshold };
        assert_eq!(grow_runs(&growth(0.6, 4)), [0, 1, 0, 1]);
        assert_eq!(grow_runs(&growth(0.2, 4)), [0, 1, 1, 1]);
        assert_eq!(grow_runs(&growth(0.2, 2)), [0, 1, 0, 0]);
        assert_eq!(grow_runs(&growth(1.1, 9)), [0; 4]);
        let mean = growth(0.2, 4).mean(0, 2).expect("two members");
        assert!((mean - (100f64.to_radians().cos() + 50f64.to_radians().cos()) / 2.0).abs() < 1e-6);
        // These are 1.5 apart, and the square of 1.5 is rounded.
        assert!(growth(0.2, 4).error(0, 2) < 40.0 * EPSILON_F32);
    }

    #[test]
    fn zero_and_broken_rows() {
        let unit = [1.0, 0.0, 1.0, 1.0, 1.0];
        let norm = [1.0, 0.0, 1.0, f32::NAN, 1.0];
        let growth = |threshold| Growth { unit: &unit, norm: &norm, channels: 1, live: 5, threshold };
        assert_eq!(grow_runs(&growth(0.0)), [0, 1, 1, 0, 0]);
        assert_eq!(grow_runs(&growth(0.5)), [0, 0, 0, 0, 0]);
    }
}
