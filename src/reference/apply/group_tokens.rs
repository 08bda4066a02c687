//! Members of every output.

use crate::tensor::NONE;

/// The members of every output of one batch row: `offsets` `[outputs + 1]` and `members` `[tokens]`.
///
/// Output p has the tokens with `parent[i] == p`. They are `members[offsets[p]..offsets[p + 1]]`, ascending. After the last member
/// stands [`NONE`].
pub fn group_tokens(parent: &[u32], outputs: usize) -> (Vec<u32>, Vec<u32>) {
    let mut groups = vec![Vec::new(); outputs];
    for (token, &p) in parent.iter().enumerate() {
        if let Some(group) = groups.get_mut(p as usize) {
            group.push(token as u32);
        }
    }
    let mut offsets = vec![0];
    let mut members = Vec::with_capacity(parent.len());
    for group in groups {
        members.extend(group);
        offsets.push(members.len() as u32);
    }
    members.resize(parent.len(), NONE);
    (offsets, members)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        let (offsets, members) = group_tokens(&[2, 0, NONE, 2, 0, 7], 4);
        assert_eq!(offsets, [0, 2, 2, 4, 4]);
        assert_eq!(members, [1, 4, 0, 3, NONE, NONE]);
        assert_eq!(group_tokens(&[], 0), (vec![0], vec![]));
        assert_eq!(group_tokens(&[0, 1], 0), (vec![0], vec![NONE, NONE]));
    }

    #[test]
    fn a_stable_sort_gives_the_same() {
        let parent: Vec<u32> = (0..500).map(|i: u32| i.wrapping_mul(2654435761) >> 7 & 63).collect();
        let mut sorted: Vec<u32> = (0..500).filter(|i| parent[*i as usize] < 50).collect();
        sorted.sort_by_key(|i| parent[*i as usize]);
        let (offsets, members) = group_tokens(&parent, 50);
        assert_eq!(members[..sorted.len()], sorted);
        for (p, &offset) in offsets.iter().enumerate() {
            assert_eq!(offset as usize, parent.iter().filter(|q| (**q as usize) < p).count());
        }
    }
}
