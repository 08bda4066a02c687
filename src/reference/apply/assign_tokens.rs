//! From a match to a map of tokens.

use crate::tensor::NONE;

/// One batch row of a match and what was selected of it.
#[derive(Debug, Clone, Copy)]
pub struct Assign<'a> {
    /// Positions of the sources.
    pub sources: &'a [u32],
    /// Positions of the destinations.
    pub destinations: &'a [u32],
    /// Live tokens: positions from here on are dead.
    pub live: u32,
    /// Destination of each source, as an index into `destinations`, or [`NONE`].
    pub partner: &'a [u32],
    /// Sources that stay, as indices into `sources`, in output order; [`NONE`] after the last. All other live sources merge.
    pub unmerged: &'a [u32],
    /// Capacity of the input.
    pub tokens: u32,
    /// Capacity of the output.
    pub outputs: u32,
    /// Whether the output begins with the first unmerged source and the first destination.
    pub interleave: bool,
}

/// The output row of each token `[tokens]`, the token that stands for each output row `[outputs]`, and the number of output
/// rows.
///
/// The output lists live tokens: `[unmerged.., destinations..]`, or `[unmerged_0, destination_0, unmerged_1.., destinations_1..]`. A
/// source that merges goes to its partner's row.
///
/// A token that is listed several times has several rows to choose from. Those as a destination come first, then those as an
/// unmerged source, then those as one that merges. Of the first kind that there is it takes the lowest row. A row at or above the
/// capacity does not exist, and a token that would go there has none.
pub fn assign_tokens(assign: &Assign<'_>) -> (Vec<u32>, Vec<u32>, u32) {
    let live = assign.live.min(assign.tokens);
    let position = |list: &[u32], i: u32| list.get(i as usize).copied().filter(|token| *token < live);
    let unmerged = assign.unmerged.iter().filter(|source| **source != NONE).count() as u32;
    let live_destinations: Vec<u32> = assign.destinations.iter().copied().filter(|token| *token < live).collect();

    let row = |row: u32| if row < assign.outputs { row } else { NONE };
    let row_of_unmerged = |k: u32| row(if assign.interleave && k > 0 && !live_destinations.is_empty() { k + 1 } else { k });
    let row_of_destination = |j: u32| row(if assign.interleave && j == 0 { unmerged.min(1) } else { unmerged + j });

    // A token takes the least row that it is offered: by kind first, then by number.
    const DESTINATION: u8 = 0;
    const UNMERGED: u8 = 1;
    const MERGES: u8 = 2;
    let mut places = vec![(u8::MAX, NONE); assign.tokens as usize];
    let mut representative = vec![NONE; assign.outputs as usize];
    let mut offer = |places: &mut Vec<(u8, u32)>, token: u32, class: u8, row: u32| {
        places[token as usize] = places[token as usize].min((class, row));
        if let Some(representative) = representative.get_mut(row as usize).filter(|_| class != MERGES) {
            *representative = token;
        }
    };
    for (j, &token) in (0..).zip(&live_destinations) {
        offer(&mut places, token, DESTINATION, row_of_destination(j));
    }
    for (&token, &partner) in assign.sources.iter().zip(assign.partner).filter(|(token, _)| **token < live) {
        if let Some(to) = position(assign.destinations, partner) {
            let row = places[to as usize].1;
            offer(&mut places, token, MERGES, row);
        }
    }
    for (k, &source) in (0..unmerged).zip(assign.unmerged) {
        if let Some(token) = position(assign.sources, source) {
            offer(&mut places, token, UNMERGED, row_of_unmerged(k));
        }
    }
    let parent = places.into_iter().map(|(_, row)| row).collect();
    (parent, representative, (unmerged + live_destinations.len() as u32).min(assign.outputs))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tokens 2, 4 and 6 of nine merge into 1, 3 and 3.
    const HAND: Assign<'_> = Assign {
        sources: &[0, 2, 4, 6, 8],
        destinations: &[1, 3, 5, 7],
        live: 9,
        partner: &[0, 0, 1, 1, 2],
        unmerged: &[0, 4],
        tokens: 9,
        outputs: 6,
        interleave: false,
    };

    #[test]
    fn unmerged_then_destinations() {
        let (parent, representative, length) = assign_tokens(&HAND);
        assert_eq!(representative, [0, 8, 1, 3, 5, 7]);
        assert_eq!(parent, [0, 2, 2, 3, 3, 4, 3, 5, 1]);
        assert_eq!(length, 6);
    }

    #[test]
    fn interleaved() {
        let (parent, representative, length) = assign_tokens(&Assign { interleave: true, ..HAND });
        assert_eq!(representative, [0, 1, 8, 3, 5, 7]);
        assert_eq!(parent, [0, 1, 1, 3, 3, 4, 3, 5, 2]);
        assert_eq!(length, 6);
        // Without an unmerged source, and without a destination, there is nothing to stand between.
        let all = Assign { interleave: true, unmerged: &[], outputs: 4, ..HAND };
        assert_eq!(assign_tokens(&all), (vec![0, 0, 0, 1, 1, 2, 1, 3, 2], vec![1, 3, 5, 7], 4));
        let none = Assign { interleave: true, destinations: &[], unmerged: &[4, 3, 2, 1, 0], outputs: 5, ..HAND };
        assert_eq!(assign_tokens(&none), (vec![4, NONE, 3, NONE, 2, NONE, 1, NONE, 0], vec![8, 6, 4, 2, 0], 5));
    }

    #[test]
    fn dead_tokens_and_a_small_capacity() {
        // Tokens 7 and 8 are dead: one unmerged source is left, and three destinations.
        let (parent, representative, length) = assign_tokens(&Assign { live: 7, unmerged: &[0, NONE], ..HAND });
        assert_eq!(representative, [0, 1, 3, 5, NONE, NONE]);
        assert_eq!(parent, [0, 1, 1, 2, 2, 3, 2, NONE, NONE]);
        assert_eq!(length, 4);
        let (parent, representative, length) = assign_tokens(&Assign { outputs: 3, ..HAND });
        assert_eq!(representative, [0, 8, 1]);
        assert_eq!(parent, [0, 2, 2, NONE, NONE, NONE, NONE, NONE, 1]);
        assert_eq!(length, 3);
        let empty = Assign { live: 0, unmerged: &[NONE], ..HAND };
        assert_eq!(assign_tokens(&empty), (vec![NONE; 9], vec![NONE; 6], 0));
    }

    #[test]
    fn tokens_that_are_listed_several_times() {
        // Token 1 is a source as well and 3 is a destination twice; source 0 stays twice, and 4 and 6 are the same token.
        let lists = Assign { sources: &[0, 1, 4, 4, 8], destinations: &[1, 3, 3, 7], unmerged: &[0, NONE, 0, 4], ..HAND };
        let (parent, representative, length) = assign_tokens(&Assign { outputs: 8, ..lists });
        assert_eq!(parent, [0, 3, NONE, 4, 4, NONE, NONE, 6, 4]);
        assert_eq!(representative, [0, NONE, 0, 1, 3, 3, 7, NONE]);
        assert_eq!(length, 7);
    }

    #[test]
    fn parents_and_representatives_agree() {
        let (parent, representative, length) = assign_tokens(&Assign { interleave: true, unmerged: &[3, 0, 1], outputs: 7, ..HAND });
        assert_eq!(length, 7);
        for (row, &token) in representative.iter().enumerate() {
            assert_eq!(parent[token as usize] as usize, row);
        }
        assert_eq!((parent[8], parent[4]), (parent[5], parent[3]));
    }
}
