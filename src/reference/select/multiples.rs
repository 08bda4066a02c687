//! Every s-th place.

use crate::tensor::NONE;

/// 1 for each place of `places` that is a multiple of the step, 0 for the others. A step of 0 counts as 1. A step of [`NONE`] has no
/// multiples.
pub fn multiples(step: u32, places: u32) -> impl Iterator<Item = u32> {
    (0..places).map(move |i| u32::from(step != NONE && i.is_multiple_of(step.max(1))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        let marks = |step| multiples(step, 5).collect::<Vec<_>>();
        assert_eq!([marks(2), marks(9)], [[1, 0, 1, 0, 1], [1, 0, 0, 0, 0]]);
        assert_eq!([marks(0), marks(1), marks(NONE)], [[1; 5], [1; 5], [0; 5]]);
    }
}
