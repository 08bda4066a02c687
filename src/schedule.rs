//! How much to compress, and at which layer: pure functions, so that a server can size its buffers before
//! any token exists.

use crate::error::Error;

/// How a fractional count becomes a whole one. Published systems differ, by one token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Rounding {
    /// Toward zero, as Python's `int`: IdleViT, DynamicViT, PyramidDrop.
    Floor,
    /// Up, as `math.ceil`: EViT.
    Ceil,
    /// To the nearest, halves to even, as Python's `round`: DivPrune, PuMer.
    NearestEven,
}

/// Tokens kept of `tokens` at a keep ratio, computed in f64 as the references do, at most `tokens`.
///
/// A ratio outside 0..=1, or a NaN, is clamped into it.
pub fn keep_count(tokens: u32, ratio: f64, rounding: Rounding) -> u32 {
    let exact = f64::from(tokens) * ratio.max(0.0);
    let whole = match rounding {
        Rounding::Floor => exact.floor(),
        Rounding::Ceil => exact.ceil(),
        Rounding::NearestEven => exact.round_ties_even(),
    };
    // `as` saturates, and the value is at most 2^32.
    (whole as u32).min(tokens)
}

/// How many tokens to merge at each layer.
#[derive(Debug, Clone, PartialEq)]
pub enum MergeSchedule {
    /// The same at every layer.
    Constant(u32),
    /// Linear from `int(r (1 - inflect))` at the first layer to `2 r - int(r (1 - inflect))` at the last,
    /// truncated at each: an inflection of -1 merges `2 r` first and nothing last; 1 the reverse; 0 is constant.
    Linear {
        /// Mean number of tokens a layer.
        merge: u32,
        /// Slope, in -1..=1.
        inflect: f64,
    },
    /// One count a layer; layers past the list merge nothing.
    List(Vec<u32>),
}

impl MergeSchedule {
    /// Tokens to merge at each of `layers` layers (ToMe's `parse_r`; with a single layer the linear schedule is its
    /// first value, where the published code divides by zero).
    pub fn counts(&self, layers: usize) -> Result<Vec<u32>, Error> {
        match self {
            Self::Constant(merge) => Ok(vec![*merge; layers]),
            Self::List(list) => Ok((0..layers).map(|layer| list.get(layer).copied().unwrap_or(0)).collect()),
            Self::Linear { merge, inflect } => {
                if !(-1.0..=1.0).contains(inflect) {
                    return Err(Error::Value {
                        argument: "merge schedule: inflect",
                        expected: "-1 to 1".into(),
                        actual: inflect.to_string(),
                    });
                }
                let merge = f64::from(*merge);
                let first = (merge * (1.0 - inflect)).trunc();
                let last = 2.0 * merge - first;
                let step = if layers > 1 { (last - first) / (layers - 1) as f64 } else { 0.0 };
                Ok((0..layers).map(|layer| (first + step * layer as f64).trunc() as u32).collect())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decreasing_schedule_of_the_paper() {
        let counts = MergeSchedule::Linear { merge: 16, inflect: -1.0 }.counts(12).expect("in range");
        assert_eq!(counts, [32, 29, 26, 23, 20, 17, 14, 11, 8, 5, 2, 0]);
    }

    #[test]
    fn a_list_is_padded_and_one_layer_does_not_divide_by_zero() {
        assert_eq!(MergeSchedule::List(vec![4, 3]).counts(4), Ok(vec![4, 3, 0, 0]));
        assert_eq!(MergeSchedule::Linear { merge: 8, inflect: -1.0 }.counts(1), Ok(vec![16]));
        assert!(matches!(MergeSchedule::Linear { merge: 8, inflect: 1.5 }.counts(3), Err(Error::Value { .. })));
    }

    #[test]
    fn the_roundings_differ() {
        assert_eq!([Rounding::Floor, Rounding::Ceil, Rounding::NearestEven].map(|r| keep_count(5, 0.5, r)), [2, 3, 2]);
        assert_eq!([Rounding::Floor, Rounding::Ceil, Rounding::NearestEven].map(|r| keep_count(7, 0.5, r)), [3, 4, 4]);
        assert_eq!(keep_count(10, f64::NAN, Rounding::Ceil), 0);
        assert_eq!(keep_count(10, 7.0, Rounding::Ceil), 10);
        // 0.7 * 10 is 7.000000000000000x in neither direction: the product is exact in f64 rounding.
        assert_eq!(keep_count(10, 0.7, Rounding::Ceil), 7);
    }
}
