//! Connected components of a graph of tokens.

use crate::tensor::NONE;

/// The first token that reaches each token, through the links of one batch row: bits `[tokens, ceil(tokens / 32)]`. A token that no token
/// before it reaches begins a component. `NONE` for those from `live` on, which are linked to nothing.
pub fn components(pairs: &[u32], tokens: usize, live: usize) -> Vec<u32> {
    let words = tokens.div_ceil(32);
    let mut label = vec![NONE; tokens];
    for first in 0..live.min(tokens) {
        let mut waiting = vec![first];
        while let Some(token) = waiting.pop() {
            if label[token] == NONE {
                label[token] = first as u32;
                let linked = |other: usize| pairs[token * words + other / 32] >> (other % 32) & 1 == 1;
                waiting.extend((0..live.min(tokens)).filter(|other| linked(*other) && label[*other] == NONE));
            }
        }
    }
    label
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chains_and_islands() {
        // 0 - 3 - 1, 2 - 4, and 5.
        let links = [(0, 3), (3, 1), (2, 4)];
        let mut pairs = [0; 6];
        for (i, j) in links {
            pairs[i] |= 1 << j;
            pairs[j] |= 1 << i;
        }
        assert_eq!(components(&pairs, 6, 6), [0, 0, 2, 0, 2, 5]);
        // Without token 3 nothing links 0 and 1.
        assert_eq!(components(&pairs, 6, 3), [0, 1, 2, NONE, NONE, NONE]);
        assert_eq!(components(&[], 0, 9), [0; 0]);
    }
}
