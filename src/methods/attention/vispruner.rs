//! VisPruner: important tokens by attention, and diverse ones among the rest.
//!
//! Zhang et al., "Beyond Text-Visual Attention: Exploiting Visual Cues for Effective Token Pruning in VLMs" (ICCV 2025).

use crate::error::Error;
use crate::graph::{Graph, Tensor};
use crate::kernels::{BipartiteMatch, Order, Partition, TopK, TopKInputs, concat_rows, gather_rows, row_normalize};
use crate::methods::parts::lists::first_entries;
use crate::methods::parts::prune::{Prune, Pruned};
use crate::options;
use crate::token_map::{Tokens, count_by_length};

/// Tokens that a round drops at most.
const ROUND: u32 = 8;

/// Keeps the tokens of highest score, and of the others those that are least like each other.
///
/// ```text
/// important = the int(keep * important) tokens of highest score        rest = all others, by descending score
/// while more than keep - |important| are left in the rest:
///     even, odd = rest[0], rest[2] ..     rest[1], rest[3] ..
///     drop the r = min(8, what is too many) of even with the highest cosine to any of odd
///     rest = [what is left of even by descending cosine, odd]
/// ```
///
/// Kept tokens are in ascending position. Ties go to the earlier in the rest. A rest of odd length has one more even token, where the
/// published code fails; a round drops at most all of even.
///
/// ```
/// use tokenpress::methods::VisPruner;
/// use tokenpress::{Elem, Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// let tokens = graph.tokens("x", [1, 4, 2], Elem::F32)?;
/// let score = graph.constant(HostTensor::f32([1, 4], vec![0.4, 0.3, 0.2, 0.1]));
/// let kept = VisPruner { keep: 3, important: 0.5 }.build(&mut graph, &tokens, score)?;
/// graph.output("indices", kept.pruned.selection.indices)?;
/// let x = HostTensor::f32([1, 4, 2], vec![1.0, 0.0, 1.0, 0.0, 1.0, 0.1, 0.0, 1.0]);
/// let out = graph.run_reference(&[("x".to_owned(), x)].into())?;
/// // Token 0 is important; of 1, 2 and 3, token 1 is a copy of its neighbour.
/// assert_eq!(out["indices"].integers(), [0, 2, 3]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct VisPruner {
    /// Tokens that stay.
    pub keep: u32,
    /// Share of them chosen by score, 0 to 1. The paper's is a half.
    pub important: f64,
}

/// Tokens after VisPruner, and what chose them.
#[derive(Debug, Clone, Copy)]
pub struct VisPrunerOutput {
    /// The tokens left, in order, and where the others went.
    pub pruned: Pruned,
    /// Chosen by score, `[batch, count]` u32, in descending score.
    pub important: Tensor,
    /// Chosen by diversity, `[batch, count]` u32, as the last round left them. (The order alone may differ in a ragged batch.)
    pub diverse: Tensor,
}

impl VisPruner {
    /// Prunes `tokens` by a score `[batch, tokens]`: the class token's attention to them in the encoder's last layer but one, averaged
    /// over the heads.
    pub fn build(&self, graph: &mut Graph, tokens: &Tokens, score: Tensor) -> Result<VisPrunerOutput, Error> {
        options::share("vispruner: important", self.important)?;
        let [_, capacity, _] = tokens.checked()?;
        let lengths = tokens.lengths;
        let (important, most) = count_by_length(graph, lengths, capacity, |live| self.important_of(live))?;
        let inputs = TopKInputs { lengths: Some(lengths), counts: Some(important), ..TopKInputs::new(score) };
        let by_score = TopK { k: most, complement: Some(Order::Value), ..Default::default() }.select(graph, inputs)?;

        let normalized = row_normalize(graph, tokens.x, Some(lengths))?;
        // A selection always has the complement that it is asked for.
        let mut rest = by_score.complement.unwrap_or(by_score.indices);
        // How long the rest is, by the number of live tokens.
        let mut left: Vec<u32> = (0..=capacity).map(|live| live - self.important_of(live)).collect();
        loop {
            let drop: Vec<u32> = (0..=capacity).map(|live| self.too_many(live, left[live as usize])).collect();
            let of = |live: u32, counts: &[u32]| counts[live.min(capacity) as usize];
            let (lengths_of_even, even) = count_by_length(graph, lengths, capacity, |live| of(live, &left).div_ceil(2))?;
            let (lengths_of_odd, odd) = count_by_length(graph, lengths, capacity, |live| of(live, &left) / 2)?;
            let (dropped, most) = count_by_length(graph, lengths, capacity, |live| of(live, &drop))?;
            if most == 0 {
                let (_, width) = count_by_length(graph, lengths, capacity, |live| of(live, &left))?;
                rest = first_entries(graph, rest, width)?;
                break;
            }
            let partition = Partition { sources: every_second(graph, rest, 0, even)?, destinations: every_second(graph, rest, 1, odd)? };
            let similarity = BipartiteMatch::default().find(graph, normalized, partition, Some(lengths))?.similarity;
            let inputs = TopKInputs { lengths: Some(lengths_of_even), counts: Some(dropped), ..TopKInputs::new(similarity) };
            let selection = TopK { k: most, complement: Some(Order::Value), ..Default::default() }.select(graph, inputs)?;
            let kept = selection.complement.unwrap_or(selection.indices);
            let even = gather_rows(graph, partition.sources, kept, None)?;
            let (lengths_of_kept, _) = count_by_length(graph, lengths, capacity, |live| of(live, &left).div_ceil(2) - of(live, &drop))?;
            rest = concat_rows(graph, (even, Some(lengths_of_kept)), (partition.destinations, Some(lengths_of_odd)))?.0;
            left.iter_mut().zip(&drop).for_each(|(left, drop)| *left -= drop);
        }
        let (chosen, _) = concat_rows(graph, (by_score.indices, None), (rest, None))?;
        let pruned = Prune::listed(graph, tokens, chosen, |live| self.keep.min(live))?;
        Ok(VisPrunerOutput { pruned, important: by_score.indices, diverse: rest })
    }

    /// Tokens chosen by score.
    fn important_of(&self, live: u32) -> u32 {
        (f64::from(self.keep.min(live)) * self.important) as u32
    }

    /// Tokens that a round drops of a rest of `left`.
    fn too_many(&self, live: u32, left: u32) -> u32 {
        let wanted = self.keep.min(live) - self.important_of(live);
        left.saturating_sub(wanted).min(ROUND).min(left.div_ceil(2))
    }
}

/// Entries `first`, `first + 2` .. of a list `[batch, entries]`, `count` of them.
fn every_second(graph: &mut Graph, list: Tensor, first: u32, count: u32) -> Result<Tensor, Error> {
    let index = graph.counted([count], first, 2);
    gather_rows(graph, list, index, None)
}
