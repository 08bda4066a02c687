//! The places of sequences in a packed row.

use crate::tensor::NONE;

/// For each pair of neighbouring offsets the places between them, at most `longest`, then [`NONE`]; and how many they are.
pub fn ranges(offsets: &[u32], longest: u32) -> (Vec<u32>, Vec<u32>) {
    let counts: Vec<u32> = offsets.windows(2).map(|pair| pair[1].saturating_sub(pair[0]).min(longest)).collect();
    let places = |(begin, count): (&u32, &u32)| {
        let (begin, count) = (*begin, *count);
        (0..longest).map(move |i| if i < count { begin + i } else { NONE })
    };
    (offsets.iter().zip(&counts).flat_map(places).collect(), counts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        let places = vec![0, 1, NONE, /**/ NONE, NONE, NONE, /**/ 2, 3, 4, /**/ NONE, NONE, NONE];
        assert_eq!(ranges(&[0, 2, 2, 6, 5], 3), (places, vec![2, 0, 3, 0]));
        assert_eq!(ranges(&[7], 3), (vec![], vec![]));
    }
}
