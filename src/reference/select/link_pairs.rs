//! Pairs of tokens from lists, as bits.

/// Bits of the tokens that each token is linked to by an entry of two lists, in both directions: `[tokens, ceil(tokens / 32)]`. Entries of
/// which one is not among the first `live` tokens are skipped, and those of a token with itself.
pub fn link_pairs(from: &[u32], to: &[u32], tokens: usize, live: usize) -> Vec<u32> {
    let words = tokens.div_ceil(32);
    let mut pairs = vec![0; tokens * words];
    for (i, j) in from.iter().zip(to).map(|(i, j)| (*i as usize, *j as usize)) {
        if i.max(j) < live.min(tokens) && i != j {
            pairs[i * words + j / 32] |= 1 << (j % 32);
            pairs[j * words + i / 32] |= 1 << (i % 32);
        }
    }
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_and_none_to_itself() {
        let of = |live| link_pairs(&[0, 2, 3, u32::MAX, 0], &[2, 0, 3, 1, 3], 4, live);
        assert_eq!(of(9), [0b1100, 0, 0b1, 0b1]);
        assert_eq!(of(3), [0b100, 0, 0b1, 0]);
    }
}
