//! Where each token went.

use crate::tensor::NONE;

/// `inverse[b, i]` is the lowest `m` with `index[b, m] == i`, or [`NONE`]. `index` is `[batch, entries]`, and the inverse is
/// `[batch, tokens]`. Indices of `tokens` and above point nowhere.
pub fn invert_index(index: &[u32], batch: usize, entries: usize, tokens: usize) -> Vec<u32> {
    let mut inverse = vec![NONE; batch * tokens];
    for b in 0..batch {
        for m in (0..entries).rev() {
            let token = index[b * entries + m] as usize;
            if token < tokens {
                inverse[b * tokens + token] = m as u32;
            }
        }
    }
    inverse
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lowest_of_several_and_none() {
        let index = [3, 1, 3, NONE, 4, 0, 0, 0];
        assert_eq!(invert_index(&index, 2, 4, 4), [NONE, 1, NONE, 0, 1, NONE, NONE, NONE]);
        assert_eq!(invert_index(&[], 2, 0, 1), [NONE, NONE]);
        assert_eq!(invert_index(&[0], 1, 1, 0), []);
    }

    #[test]
    fn is_the_first_position_found_by_search() {
        let index: Vec<u32> = (0..60).map(|i| (i * i * 7 + 3) % 23).collect();
        let inverse = invert_index(&index, 3, 20, 17);
        for (slot, &m) in inverse.iter().enumerate() {
            let (b, token) = (slot / 17, slot as u32 % 17);
            let found = index[b * 20..][..20].iter().position(|&i| i == token);
            assert_eq!(m, found.map_or(NONE, |m| m as u32));
        }
    }
}
