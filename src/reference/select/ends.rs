//! Both ends of a row.

use crate::tensor::NONE;

/// The first `first` and the last `last` places of `live`, each once and in order, then [`NONE`]; and how many they are.
pub fn ends(live: u32, first: u32, last: u32) -> (Vec<u32>, u32) {
    let places = first + last;
    let kept = live.min(places);
    let index = |i| if i < first { i } else { live - kept + i };
    ((0..places).map(|i| if i < kept { index(i) } else { NONE }).collect(), kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        assert_eq!(ends(9, 2, 3), (vec![0, 1, 6, 7, 8], 5));
        assert_eq!(ends(4, 2, 3), (vec![0, 1, 2, 3, NONE], 4));
        assert_eq!(ends(1, 2, 3), (vec![0, NONE, NONE, NONE, NONE], 1));
        assert_eq!(ends(9, 0, 2), (vec![7, 8], 2));
        assert_eq!(ends(9, 2, 0), (vec![0, 1], 2));
    }
}
