//! Tokens of a grid that their neighbours predict.

use crate::reference::{Distance, distance, distance_bound};
use crate::tensor::NONE;

/// The tokens of one batch row, in rows of a grid.
#[derive(Debug, Clone, Copy)]
pub struct GridRow<'a> {
    /// `[tokens, channels]`.
    pub x: &'a [f32],
    /// Tokens of the batch row.
    pub tokens: usize,
    /// Channels of a token.
    pub channels: usize,
    /// Tokens of a row of the grid.
    pub width: usize,
    /// Live tokens.
    pub live: usize,
    /// How far two tokens are apart.
    pub measure: Distance,
    /// The largest distance of tokens that are near.
    pub threshold: f32,
}

impl GridRow<'_> {
    /// Whether tokens are near, as far as rounding leaves it open: `[no, yes]` of what may be said.
    fn near(&self, i: usize, j: usize, with_bound: bool) -> [bool; 2] {
        let row = |token: usize| &self.x[token * self.channels..][..self.channels];
        let (apart, limit) = (distance(row(i), row(j), self.measure), f64::from(self.threshold));
        let bound = if with_bound { distance_bound(row(i), row(j), self.measure) } else { 0.0 };
        // Nothing is near NaN.
        [apart.is_nan() || apart + bound > limit, apart - bound <= limit]
    }

    /// What may stand for a token, if `anchors` stand for those before it. There is one answer without a bound.
    pub fn answers(&self, anchors: &[u32], token: usize, with_bound: bool) -> Vec<u32> {
        if token >= self.live {
            return vec![NONE];
        }
        if token == 0 {
            return vec![0];
        }
        let (row, column) = (token / self.width, token % self.width);
        let standing = |token: usize| anchors[token] as usize;
        let predictions = if column == 0 {
            vec![standing(token - self.width)]
        } else if row == 0 {
            vec![standing(token - 1)]
        } else {
            let [a, b, c] = [token - 1, token - self.width, token - self.width - 1].map(standing);
            let (left, above) = (self.near(c, a, with_bound), self.near(c, b, with_bound));
            let both = [(left[1] && above[0], b), (left[0] || above[1], a)];
            both.into_iter().filter_map(|(may, prediction)| may.then_some(prediction)).collect()
        };
        let of = |prediction: usize| {
            let near = self.near(token, prediction, with_bound);
            [(near[1], prediction), (near[0], token)].into_iter().filter_map(|(may, anchor)| may.then_some(anchor as u32))
        };
        predictions.into_iter().flat_map(of).collect()
    }
}

/// What stands for each token: itself, or what stands for the neighbour that predicts it; `NONE` for dead tokens.
pub fn grid_anchors(row: &GridRow<'_>) -> Vec<u32> {
    let mut anchors = Vec::new();
    for token in 0..row.tokens {
        let answer = row.answers(&anchors, token, false)[0];
        anchors.push(answer);
    }
    anchors
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(x: &[f32], width: usize, threshold: f32, live: usize) -> Vec<u32> {
        let row = GridRow { x, tokens: x.len(), channels: 1, width, live, measure: Distance::Largest, threshold };
        for with_bound in [false, true] {
            let anchors = grid_anchors(&row);
            assert!((0..x.len()).all(|token| row.answers(&anchors, token, with_bound).contains(&anchors[token])));
        }
        grid_anchors(&row)
    }

    #[test]
    fn a_rectangle_costs_its_corners() {
        #[rustfmt::skip]
        let x = [
            0.0, 0.0, 0.0, 0.0,
            0.0, 5.0, 5.0, 0.0,
            0.0, 5.0, 5.0, 0.0,
        ];
        // The first token, the rectangle's, and the ground to its right, which continues to below.
        assert_eq!(run(&x, 4, 0.0, 12), [0, 0, 0, 0, 0, 5, 5, 7, 0, 5, 5, 7]);
        assert_eq!(run(&x, 4, 0.0, 6)[4..8], [0, 5, NONE, NONE]);
        assert_eq!(run(&x[..3], 1, 0.0, 3), [0, 0, 0]);
    }

    #[test]
    fn errors_do_not_add_up() {
        // A ramp: each is near the one before it, and every second one too far from what stands for that.
        assert_eq!(run(&[0.0, 1.0, 2.0, 3.0], 4, 1.0, 4), [0, 0, 2, 2]);
        assert_eq!(run(&[0.0, f32::NAN, f32::NAN, 0.0], 4, 1.0, 4), [0, 1, 2, 3]);
    }
}
