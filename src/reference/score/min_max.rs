//! Scores brought between 0 and 1.

use crate::compare::{EPSILON_F32, storage_error};
use crate::tensor::Elem;

/// The lowest and the highest score of a row, and how scores are scaled between them.
#[derive(Debug, Clone, Copy)]
pub struct Range {
    /// The lowest.
    pub lowest: f32,
    /// The highest.
    pub highest: f32,
    /// Whether the highest becomes 0 and the lowest 1.
    pub descending: bool,
    /// Added to the dividend.
    pub offset: f32,
    /// Added to the divisor.
    pub epsilon: f32,
}

impl Range {
    fn dividend(&self, score: f32) -> f64 {
        let (score, low, high) = (f64::from(score), f64::from(self.lowest), f64::from(self.highest));
        (if self.descending { high - score } else { score - low }) + f64::from(self.offset)
    }

    fn divisor(&self) -> f64 {
        f64::from(self.highest) - f64::from(self.lowest) + f64::from(self.epsilon)
    }
}

/// `(x - lowest + offset) / (highest - lowest + epsilon)`, or `(highest - x + offset) / ..`; 1 where the divisor is 0.
pub fn min_max(score: f32, range: &Range) -> f64 {
    if range.divisor() == 0.0 { 1.0 } else { range.dividend(score) / range.divisor() }
}

/// How far [`min_max`] in f32 may be from the exact one: two sums, each to half an ulp of its terms, and a division to 2.5 ulp. The bound
/// is infinite if the divisor may be flushed to 0, or something is not finite.
pub fn min_max_bound(score: f32, range: &Range) -> f64 {
    let (dividend, divisor) = (range.dividend(score), range.divisor());
    let tiny = f64::from(f32::MIN_POSITIVE);
    if divisor == 0.0 && range.lowest.is_finite() {
        return 0.0;
    }
    // The offset may cancel the first difference, but not its rounding.
    let sum_error = |difference: f64, added: f32| 2.0 * EPSILON_F32 * (difference.abs() + f64::from(added).abs()) + tiny;
    let above = sum_error(dividend - f64::from(range.offset), range.offset);
    let below = sum_error(divisor - f64::from(range.epsilon), range.epsilon);
    let least = divisor.abs() - below;
    let most = f64::from(f32::MAX);
    let decided = least > tiny && dividend.abs() < most && divisor.abs() < most;
    if !decided {
        return f64::INFINITY;
    }
    let value = dividend / divisor;
    let moved = above / least + value.abs() * below / least;
    moved + 5.0 * EPSILON_F32 * (value.abs() + moved) + storage_error(Elem::F32, value)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ZERO_TO_FOUR: Range = Range { lowest: -1.0, highest: 3.0, descending: false, offset: 0.0, epsilon: 0.0 };

    #[test]
    fn both_directions() {
        assert_eq!([-1.0, 0.0, 3.0].map(|x| min_max(x, &ZERO_TO_FOUR)), [0.0, 0.25, 1.0]);
        let descending = Range { descending: true, ..ZERO_TO_FOUR };
        assert_eq!([-1.0, 0.0, 3.0].map(|x| min_max(x, &descending)), [1.0, 0.75, 0.0]);
    }

    #[test]
    fn equal_scores() {
        let flat = Range { lowest: 3.0, offset: 1e-6, ..ZERO_TO_FOUR };
        assert_eq!((min_max(3.0, &flat), min_max_bound(3.0, &flat)), (1.0, 0.0));
        assert_eq!(min_max(3.0, &Range { epsilon: 0.5, offset: 0.0, ..flat }), 0.0);
    }

    #[test]
    fn bounds_are_a_few_units() {
        assert!(min_max_bound(2.0, &ZERO_TO_FOUR) < 16.0 * EPSILON_F32);
    }
}
