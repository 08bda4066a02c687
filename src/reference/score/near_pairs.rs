//! Which pairs of tokens are near.

use crate::reference::{dot, dot_bound};
use crate::tensor::NONE;

/// The tokens of one batch row.
#[derive(Debug, Clone, Copy)]
pub struct Vicinity<'a> {
    /// Unit rows, `[tokens, channels]`.
    pub unit: &'a [f32],
    /// Norms, `[tokens]`; NaN for rows with a NaN or an infinity.
    pub norm: &'a [f32],
    /// Channels of a row.
    pub channels: usize,
    /// Live tokens.
    pub live: usize,
    /// The cosine from which on tokens are near.
    pub threshold: f32,
    /// Whether a cosine of exactly so much is near.
    pub or_equal: bool,
}

impl Vicinity<'_> {
    /// Whether two tokens are near.
    pub fn near(&self, i: usize, j: usize) -> bool {
        self.may_differ(i, j)[0]
    }

    /// Whether two tokens are near, and whether arithmetic in f32 may find the contrary.
    pub fn may_differ(&self, i: usize, j: usize) -> [bool; 2] {
        let row = |token: usize| &self.unit[token * self.channels..][..self.channels];
        let sound = |token: usize| token < self.live && !self.norm[token].is_nan();
        if i == j || !sound(i) || !sound(j) {
            return [false; 2];
        }
        let (cosine, limit) = (dot(row(i), row(j)), f64::from(self.threshold));
        let near = if self.or_equal { cosine >= limit } else { cosine > limit };
        [near, (cosine - limit).abs() <= dot_bound(row(i), row(j))]
    }
}

/// What [`near_pairs`] gives.
pub struct Near {
    /// Bits of the tokens that each token is near, `[tokens, ceil(tokens / 32)]`.
    pub pairs: Vec<u32>,
    /// How many they are.
    pub degree: Vec<u32>,
    /// The last of them; [`NONE`](crate::NONE) without one.
    pub last: Vec<u32>,
}

/// The tokens that each token is near.
pub fn near_pairs(vicinity: &Vicinity<'_>) -> Near {
    let tokens = vicinity.norm.len();
    let words = tokens.div_ceil(32);
    let mut near = Near { pairs: vec![0; tokens * words], degree: vec![0; tokens], last: vec![NONE; tokens] };
    for (i, j) in (0..tokens).flat_map(|i| (0..tokens).map(move |j| (i, j))) {
        if vicinity.near(i, j) {
            near.pairs[i * words + j / 32] |= 1 << (j % 32);
            near.degree[i] += 1;
            near.last[i] = j as u32;
        }
    }
    near
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_and_far() {
        let unit = [1.0, 0.0, 0.6, 0.8, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0];
        let norm = [1.0, 1.0, 1.0, f32::NAN, 0.0];
        let of = |threshold, or_equal, live| near_pairs(&Vicinity { unit: &unit, norm: &norm, channels: 2, live, threshold, or_equal });
        assert_eq!(of(0.5, false, 5).pairs, [0b10, 0b101, 0b10, 0, 0]);
        assert_eq!(of(0.5, false, 5).degree, [1, 2, 1, 0, 0]);
        assert_eq!(of(0.5, false, 5).last, [1, 2, 1, NONE, NONE]);
        assert_eq!(of(0.6, false, 9).pairs, [0, 0b100, 0b10, 0, 0]);
        assert_eq!(of(0.0, true, 2).degree, [1, 1, 0, 0, 0]);
        assert_eq!(of(0.0, true, 5).degree, [3, 3, 3, 0, 3]);
        assert_eq!(of(0.0, false, 5).degree, [1, 2, 1, 0, 0]);
    }
}
