//! Whole numbers of tokens.

/// How a fractional count becomes a whole one. Published systems differ by one token.
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

/// Python's `a // b` of floats, for positive b. It uses the exact remainder. `floor(a / b)` may be one too many, because the quotient is
/// rounded: `1.0 // 0.1` is 9.
pub(crate) fn floor_division(a: f64, b: f64) -> f64 {
    let quotient = (a - a % b) / b;
    let whole = quotient.floor();
    if quotient - whole > 0.5 { whole + 1.0 } else { whole }
}

/// Python's `int(round(x, 7))`, for x of at least 0. A number that rounding left a little below a whole number counts as that number.
pub(crate) fn truncated_after_rounding(x: f64) -> f64 {
    // The distance is exact, and no f64 is exactly half a unit of the seventh decimal away.
    if x.ceil() - x < 5e-8 { x.ceil() } else { x.floor() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_are_those_of_python() {
        let divisions = [(135.0, 135.0 * 135.0 / (9.0 * 729.0), 80.0), (1.0, 0.1, 9.0), (7.0, 2.0, 3.0), (0.3, 0.1, 2.0), (6.0, 3.0, 2.0)];
        for (a, b, expected) in divisions {
            let b: f64 = if a == 135.0 { f64::sqrt(b) } else { b };
            assert_eq!(floor_division(a, b), expected, "{a} // {b}");
        }
        for (x, expected) in [(26.999999999999996, 27.0), (26.9999999, 26.0), (26.99999996, 27.0), (0.0, 0.0), (3.0, 3.0), (3.4, 3.0)] {
            assert_eq!(truncated_after_rounding(x), expected, "{x}");
        }
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
