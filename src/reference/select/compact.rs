//! Prefix sum and compaction.

use crate::tensor::NONE;

/// The set flags of a row in ascending index, and each token's place among them; [`NONE`] for a token whose flag is not set.
///
/// `flags` are those of the live tokens. Anything but 0 is set.
pub fn compact(flags: &[u32]) -> (Vec<u32>, Vec<u32>) {
    let (mut indices, mut ranks) = (Vec::new(), Vec::new());
    for (token, &flag) in flags.iter().enumerate() {
        ranks.push(if flag == 0 { NONE } else { indices.len() as u32 });
        if flag != 0 {
            indices.push(token as u32);
        }
    }
    (indices, ranks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_places() {
        assert_eq!(compact(&[0, 7, 1, 0, 1]), (vec![1, 2, 4], vec![NONE, 0, 1, NONE, 2]));
        assert_eq!(compact(&[0, 0]), (vec![], vec![NONE, NONE]));
        assert_eq!(compact(&[]), (vec![], vec![]));
    }

    #[test]
    fn is_a_filter_and_a_count() {
        let flags: Vec<u32> = (0..200u32).map(|i| (i * i / 7) % 3).collect();
        let (indices, ranks) = compact(&flags);
        assert!(indices.iter().copied().eq((0..200).filter(|&i| flags[i as usize] != 0)));
        for (token, &rank) in ranks.iter().enumerate() {
            let before = flags[..token].iter().filter(|f| **f != 0).count() as u32;
            assert_eq!(rank, if flags[token] == 0 { NONE } else { before });
        }
    }
}
