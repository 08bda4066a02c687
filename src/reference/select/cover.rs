//! A cover of a graph of tokens.

/// 1 for each token of a batch row that no token chosen before it is linked to, in the order of `order`; bits of links are
/// `[tokens, ceil(tokens / 32)]`. Entries that are not among the first `live` tokens are skipped.
pub fn cover(pairs: &[u32], tokens: usize, order: &[u32], live: usize) -> Vec<u32> {
    let words = tokens.div_ceil(32);
    let linked = |from: usize, to: usize| pairs[from * words + to / 32] >> (to % 32) & 1 == 1;
    let mut chosen: Vec<usize> = Vec::new();
    for token in order.iter().map(|token| *token as usize).filter(|token| *token < live.min(tokens)) {
        if chosen.iter().all(|other| *other != token && !linked(*other, token)) {
            chosen.push(token);
        }
    }
    (0..tokens).map(|token| u32::from(chosen.contains(&token))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_the_order_go_first() {
        // A chain 0 - 1 - 2 - 3.
        let pairs = [0b10, 0b101, 0b1010, 0b100];
        assert_eq!(cover(&pairs, 4, &[1, 0, 3, 2], 4), [0, 1, 0, 1]);
        assert_eq!(cover(&pairs, 4, &[0, 1, 2, 3], 4), [1, 0, 1, 0]);
        assert_eq!(cover(&pairs, 4, &[3, 9, 3, 0], 3), [1, 0, 0, 0]);
    }
}
