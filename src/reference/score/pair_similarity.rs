//! The cosine of every token and its partner.

use crate::reference::{cosine, cosine_bound};

/// The tokens of one batch row, and the partner of each.
#[derive(Debug, Clone, Copy)]
pub struct Pairs<'a> {
    /// Unit rows, `[tokens, channels]`.
    pub unit: &'a [f32],
    /// Norms, `[tokens]`; NaN for rows with a NaN or an infinity.
    pub norm: &'a [f32],
    /// Channels of a row.
    pub channels: usize,
    /// Partner of each token.
    pub previous: &'a [u32],
    /// Live tokens.
    pub live: u32,
}

impl Pairs<'_> {
    /// `of` the rows of every token and its partner. A dead token gives `dead`, one without a live partner gives `alone`.
    fn each<T: Copy>(&self, dead: T, alone: T, broken: T, of: impl Fn(&[f32], &[f32]) -> T) -> Vec<T> {
        let live = (self.live as usize).min(self.norm.len());
        let row = |token: usize| &self.unit[token * self.channels..][..self.channels];
        let one = |token: usize| match self.previous[token] as usize {
            _ if token >= live => dead,
            other if other >= live => alone,
            other if self.norm[token].is_nan() || self.norm[other].is_nan() => broken,
            other => of(row(token), row(other)),
        };
        (0..self.norm.len()).map(one).collect()
    }
}

/// The [`cosine`] of `unit_i` and `unit_previous(i)` for every token. It is NaN if either row has a NaN or an infinity, -infinity without
/// a live partner, and 0 for a dead token.
pub fn pair_similarity(pairs: &Pairs<'_>) -> Vec<f32> {
    pairs.each(0.0, f32::NEG_INFINITY, f32::NAN, |a, b| cosine(a, b) as f32)
}

/// How far a similarity in f32 may be from [`pair_similarity`] of the same unit rows.
pub fn pair_similarity_bound(pairs: &Pairs<'_>) -> Vec<f64> {
    pairs.each(0.0, 0.0, 0.0, cosine_bound)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::NONE;

    #[test]
    fn pairs_and_tokens_without_one() {
        let unit = [1.0, 0.0, 0.6, 0.8, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0];
        let pairs = |live| Pairs { unit: &unit, norm: &[1.0, 2.0, 1.0, f32::NAN, 0.0], channels: 2, previous: &[NONE, 0, 1, 2, 0], live };
        let similarity = pair_similarity(&pairs(9));
        assert_eq!(similarity[..3], [f32::NEG_INFINITY, 0.6, 0.8]);
        assert!(similarity[3].is_nan());
        assert_eq!(similarity[4], 0.0);
        assert_eq!(pair_similarity(&pairs(2)), [f32::NEG_INFINITY, 0.6, 0.0, 0.0, 0.0]);
        // A dead partner does not count.
        let dead = Pairs { previous: &[2, 0, 1, 2, 0], ..pairs(2) };
        assert_eq!(pair_similarity(&dead), [f32::NEG_INFINITY, 0.6, 0.0, 0.0, 0.0]);
        assert!(pair_similarity_bound(&pairs(9))[1] < 1e-6);
    }
}
