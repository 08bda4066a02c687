//! Where the run of each token starts.

use crate::tensor::NONE;

/// For each token of a row, the first token of its segment; [`NONE`] for a dead token.
///
/// A token with `joins[i] != 0` and `previous[i] < i` continues the run of `previous[i]`. Every other live token starts a run. With
/// `pairs`, tokens 0 and 1 of a run make a segment, then tokens 2 and 3, and so on.
pub fn run_segments(joins: &[u32], previous: &[u32], live: u32, pairs: bool) -> Vec<u32> {
    let mut runs: Vec<(u32, u32)> = Vec::new(); // first token of the run, joins since then
    let mut start = Vec::new();
    for (token, (&joined, &before)) in joins.iter().zip(previous).enumerate() {
        let token = token as u32;
        let (first, place) = match runs.get(before as usize) {
            Some(&(first, place)) if joined != 0 => (first, place + 1),
            _ => (token, 0),
        };
        runs.push((first, place));
        start.push(match pairs {
            _ if token >= live => NONE,
            true if place % 2 == 1 => before,
            true => token,
            false => first,
        });
    }
    start
}

#[cfg(test)]
mod tests {
    use super::*;

    fn neighbours(tokens: u32) -> Vec<u32> {
        (0..tokens).map(|i| i.checked_sub(1).unwrap_or(NONE)).collect()
    }

    #[test]
    fn runs_of_neighbours() {
        let joins = [1, 1, 1, 0, 7, 0, 1, 1, 1];
        assert_eq!(run_segments(&joins, &neighbours(9), 8, false), [0, 0, 0, 3, 3, 5, 5, 5, NONE]);
        assert_eq!(run_segments(&joins, &neighbours(9), 8, true), [0, 0, 2, 3, 3, 5, 5, 7, NONE]);
        assert_eq!(run_segments(&[], &[], 3, false), []);
    }

    #[test]
    fn pairs_are_the_walk_from_left_to_right() {
        let joins: Vec<u32> = (0..200u32).map(|i| u32::from((i * i + i / 3) % 7 < 5)).collect();
        let mut expected = Vec::new();
        let mut token = 0;
        while token < 200 {
            expected.push(token);
            if token + 1 < 200 && joins[token as usize + 1] != 0 {
                expected.push(token);
                token += 1;
            }
            token += 1;
        }
        assert_eq!(run_segments(&joins, &neighbours(200), 200, true), expected);
    }

    #[test]
    fn chains_of_frames() {
        // Three frames of three tokens: place 0 is the same in all, place 1 in the last two.
        let previous = [NONE, NONE, NONE, 0, 1, 2, 3, 4, 5];
        assert_eq!(run_segments(&[0, 0, 0, 1, 0, 0, 1, 1, 0], &previous, 9, false), [0, 1, 2, 0, 4, 5, 0, 4, 8]);
        // A link to a later token does not count.
        assert_eq!(run_segments(&[1, 1], &[1, 1], 2, false), [0, 1]);
    }
}
