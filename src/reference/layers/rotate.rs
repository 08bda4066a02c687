//! Rotary embeddings, and their change by a distance.

use crate::compare::{EPSILON_F32, flushed, storage_error};
use crate::tensor::Elem;

/// Which two channels are turned together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum RotaryPairs {
    /// Channels c and c + D / 2, as Llama, Qwen and Mistral have them in Hugging Face's form.
    #[default]
    Half,
    /// Channels 2 c and 2 c + 1, as GPT-J, GLM and Llama's own form have them.
    Interleaved,
}

impl RotaryPairs {
    /// The channels of pair c, of so many.
    pub(crate) fn channels(self, c: usize, pairs: usize) -> [usize; 2] {
        match self {
            Self::Half => [c, c + pairs],
            Self::Interleaved => [2 * c, 2 * c + 1],
        }
    }
}

/// Levels of a table of turns, and the digits of each.
pub(crate) const LEVELS: usize = 4;
pub(crate) const DIGITS: usize = 256;

/// What [`rotate`] reads beside the rows.
#[derive(Debug, Clone, Copy)]
pub struct Rotation<'a> {
    /// Cosines and sines `[4, 256, pairs, 2]`: of digits of 8 bits, the lowest first.
    pub turns: &'a [f32],
    /// How many pairs of channels.
    pub pairs: usize,
    /// Which channels they are.
    pub of: RotaryPairs,
    /// Positions before, of every row.
    pub from: &'a [u32],
    /// Positions after.
    pub to: &'a [u32],
    /// Live rows of each batch row.
    pub lengths: &'a [u32],
    /// Rows of a batch row.
    pub tokens: usize,
    /// Channels of a row.
    pub channels: usize,
}

impl Rotation<'_> {
    /// The turn of pair c over a distance: none where it is 1.
    fn turn(&self, row: usize, c: usize) -> Option<[f64; 2]> {
        let distance = self.from[row].abs_diff(self.to[row]);
        let mut turn = [1.0, 0.0];
        for level in 0..LEVELS {
            let digit = (distance >> (8 * level)) as usize % DIGITS;
            if digit != 0 || level == 0 {
                let at = 2 * ((level * DIGITS + digit) * self.pairs + c);
                turn = product(turn, [self.turns[at], self.turns[at + 1]].map(f64::from));
            }
        }
        if distance == 0 && turn == [1.0, 0.0] {
            return None;
        }
        Some(if self.to[row] < self.from[row] { [turn[0], -turn[1]] } else { turn })
    }
}

fn product(a: [f64; 2], b: [f64; 2]) -> [f64; 2] {
    [a[0] * b[0] - a[1] * b[1], a[0] * b[1] + a[1] * b[0]]
}

/// Rows `[batch, tokens, channels]` turned from one position to another, and the bound of each number on a GPU that stores this type.
///
/// The pair `(x1, x2)` as a complex number is multiplied by the turn of its distance, conjugate where it leads back. Channels after the pairs,
/// and rows that stay, are copies. A pair with a NaN or an infinity that moves is NaN; dead rows are 0.
///
/// A product of complex numbers in f32 errs by at most `2 sqrt(2)` units of roundoff of its magnitude: by two in each component, as
/// `|ac| + |bd| <= |z||w|`. There are three for the turn, and one for the pair: 12 in all, and one more for terms of second order. Each of a
/// pair's denormal numbers may count as 0, and so may a product.
pub fn rotate(x: &[f32], rotation: &Rotation<'_>, elem: Elem) -> (Vec<f64>, Vec<f64>) {
    let &Rotation { pairs, channels, tokens, lengths, .. } = rotation;
    let (mut values, mut bounds) = (Vec::with_capacity(x.len()), vec![0.0; x.len()]);
    values.extend(x.iter().map(|x| f64::from(*x)));
    for row in 0..lengths.len() * tokens {
        let at = row * channels;
        if row % tokens >= lengths[row / tokens] as usize {
            values[at..at + channels].fill(0.0);
            continue;
        }
        for c in 0..pairs {
            let [first, second] = rotation.of.channels(c, pairs).map(|channel| at + channel);
            let Some(turn) = rotation.turn(row, c) else { continue };
            let finite = x[first].is_finite() && x[second].is_finite();
            let turned = if finite { product([x[first], x[second]].map(f64::from), turn) } else { [f64::NAN; 2] };
            let size = f64::from(x[first]).hypot(f64::from(x[second])) * turn[0].hypot(turn[1]);
            let lost = flushed(x[first]) + flushed(x[second]) + 4.0 * f64::from(f32::MIN_POSITIVE);
            for (place, value) in [first, second].into_iter().zip(turned) {
                values[place] = value;
                bounds[place] = if finite { 13.0 * EPSILON_F32 * size + lost + storage_error(elem, value) } else { 0.0 };
            }
        }
    }
    (values, bounds)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A quarter of a turn for each step of one pair.
    fn quarters() -> Vec<f32> {
        let mut turns = vec![0.0; LEVELS * DIGITS * 2];
        for (entry, turn) in turns.chunks_mut(2).enumerate() {
            let quarter = if entry < DIGITS { entry % 4 } else { 0 };
            turn.copy_from_slice(&[[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]][quarter]);
        }
        turns
    }

    fn turned(x: &[f32], of: RotaryPairs, from: &[u32], to: &[u32], lengths: &[u32], tokens: usize) -> Vec<f64> {
        let turns = quarters();
        let channels = x.len() / from.len();
        let rotation = Rotation { turns: &turns, pairs: 1, of, from, to, lengths, tokens, channels };
        rotate(x, &rotation, Elem::F32).0
    }

    #[test]
    fn a_quarter_forward_and_back() {
        assert_eq!(turned(&[2.0, 3.0], RotaryPairs::Half, &[5], &[6], &[1], 1), [-3.0, 2.0]);
        assert_eq!(turned(&[2.0, 3.0], RotaryPairs::Half, &[6], &[5], &[1], 1), [3.0, -2.0]);
        assert_eq!(turned(&[2.0, 3.0, 9.0], RotaryPairs::Interleaved, &[0], &[258], &[1], 1), [-2.0, -3.0, 9.0]);
    }

    #[test]
    fn what_stays_is_copied_and_what_is_dead_is_nothing() {
        let x = [f32::INFINITY, -0.0, f32::NAN, 1.0];
        let out = turned(&x, RotaryPairs::Half, &[7, 7], &[7, 8], &[1], 2);
        assert_eq!(out, [f64::INFINITY, 0.0, 0.0, 0.0]);
        assert!(out[1].is_sign_negative());
        let moved = turned(&x, RotaryPairs::Half, &[7, 7], &[8, 8], &[2], 2);
        assert!(moved.iter().all(|y| y.is_nan()));
    }
}
