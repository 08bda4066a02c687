//! VisPruner: important tokens by attention, and diverse ones among the rest.
//!
//! Zhang et al., "Beyond Text-Visual Attention: Exploiting Visual Cues for Effective Token Pruning in VLMs" (ICCV 2025).

use crate::error::Error;
use crate::graph::{Graph, Tensor, expect_listed};
use crate::kernels::{BipartiteMatch, Order, Partition, TopK, TopKInputs, concat_rows, gather_rows, lookup, row_normalize};
use crate::methods::parts::lists::first_entries;
use crate::methods::parts::prune::{Prune, Pruned};
use crate::options;
use crate::tensor::{HostTensor, Shape};
use crate::token_map::{Tokens, count_by_length, plus_one};

/// Tokens that a round drops at most.
const ROUND: u32 = 8;

/// The most tokens that are dropped: a round is some ten calls, so that these are 80,000 calls.
const MOST_DROPPED: u32 = 1 << 16;

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
/// Kept tokens are in ascending position. Ties go to the earlier in the rest. A rest of odd length has one more even token; the published
/// code fails there. A round drops at most all of even.
///
/// Cost: a round for every eight tokens that are dropped, about `(N - keep) / 8` of them. A round on a rest of R tokens is a
/// match of `R^2 C / 2` operations, a selection, and copies of indices. Beside them one selection by score and one copy of the
/// kept tokens. No attention is read.
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
    ///
    /// # Errors
    /// [`Error::Value`] for a share that is none, and for more than 65,536 tokens to drop in rounds of eight. [`Error::Shape`] for rows of
    /// more different lengths, known now, than the host lists in every round.
    pub fn build(&self, graph: &mut Graph, tokens: &Tokens, score: Tensor) -> Result<VisPrunerOutput, Error> {
        options::share("vispruner: important", self.important)?;
        let [_, capacity, _] = tokens.checked()?;
        tokens.expect_score("vispruner: score", score)?;
        let lengths = tokens.lengths;
        let mut round = Round::first(self, graph, lengths, capacity)?;
        let (important, most) = count_by_length(graph, lengths, capacity, |live| self.important_of(live))?;
        let inputs = TopKInputs { lengths: Some(lengths), counts: Some(important), ..TopKInputs::new(score) };
        let by_score = TopK { k: most, complement: Some(Order::Value), ..Default::default() }.build(graph, inputs)?;

        let normalized = row_normalize(graph, tokens.x, Some(lengths))?;
        // A selection always has the complement that it is asked for.
        let mut rest = by_score.complement.unwrap_or(by_score.indices);
        while round.most_dropped() > 0 {
            let longest = round.longest();
            let sources = every_second(graph, rest, 0, longest.div_ceil(2))?;
            let partition = Partition { sources, destinations: every_second(graph, rest, 1, longest / 2)? };
            let similarity = BipartiteMatch::default().build(graph, normalized, partition, Some(lengths))?.similarity;
            let [even, odd, dropped, kept] = round.counts(graph)?;
            let inputs = TopKInputs { lengths: Some(even), counts: Some(dropped), ..TopKInputs::new(similarity) };
            let selection = TopK { k: round.most_dropped(), complement: Some(Order::Value), ..Default::default() }.build(graph, inputs)?;
            let left = selection.complement.unwrap_or(selection.indices);
            let left = gather_rows(graph, partition.sources, left, None)?;
            rest = concat_rows(graph, (left, Some(kept)), (partition.destinations, Some(odd)))?.0;
            round.next(graph)?;
        }
        rest = first_entries(graph, rest, round.longest())?;
        let (chosen, _) = concat_rows(graph, (by_score.indices, None), (rest, None))?;
        let pruned = Prune::listed(graph, tokens, chosen, |live| self.keep.min(live))?;
        Ok(VisPrunerOutput { pruned, important: by_score.indices, diverse: rest })
    }

    /// Tokens chosen by score.
    fn important_of(&self, live: u32) -> u32 {
        (f64::from(self.keep.min(live)) * self.important) as u32
    }

    /// Length of the rest before the first round. So many stay of as many tokens as are kept, or fewer.
    fn rest_of(&self, live: u32) -> u32 {
        live - self.important_of(live)
    }
}

/// Lengths of the rest's even and odd parts before a round, tokens that the round drops, and what it leaves of the even part.
fn counts_of(left: u32, wanted: u32) -> [u32; 4] {
    let (even, odd) = (left.div_ceil(2), left / 2);
    let dropped = left.saturating_sub(wanted).min(ROUND).min(even);
    [even, odd, dropped, even - dropped]
}

/// Every row's counts before a round.
enum Round {
    /// Rows whose lengths are known now, or one row that is like all: how long the rest is, and how long it shall be.
    Known { batch: u32, rows: Vec<[u32; 2]> },
    /// Rows whose lengths are on the GPU. A row with no more tokens than are kept drops none: its state is the length of its rest. For all
    /// other rows the wanted length is the same. Their states come after those, by the length of the rest less the wanted length.
    Counted {
        states: Tensor,
        /// For each state the four counts, and the state after a round.
        tables: Vec<Tensor>,
        /// The longest rest of a row that drops none, the longest of one that drops, and what is wanted of that.
        resting: u32,
        longest: u32,
        wanted: u32,
    },
}

impl Round {
    fn first(method: &VisPruner, graph: &mut Graph, lengths: Tensor, capacity: u32) -> Result<Self, Error> {
        let row = |live: u32| [method.rest_of(live.min(capacity)), method.rest_of(live.min(capacity).min(method.keep))];
        let expect_few =
            |[left, wanted]: [u32; 2]| options::within("vispruner: tokens to drop", 0..=MOST_DROPPED, left.saturating_sub(wanted));
        let [batch] = lengths.shape().exactly("tokens: lengths", "[batch]")?;
        if let Some(known) = graph.known(lengths) {
            let rows: Vec<_> = match known.one_number() {
                Some(live) => vec![row(live)],
                None => {
                    let rounds = row(capacity)[0].saturating_sub(row(capacity)[1]).div_ceil(ROUND).max(1);
                    expect_listed("tokens: lengths of every round", Shape::from([rounds, batch]))?;
                    known.entries().map(row).collect()
                }
            };
            rows.iter().try_for_each(|row| expect_few(*row))?;
            return Ok(Self::Known { batch, rows });
        }
        let all_stay = method.keep.min(capacity);
        let resting = (0..=all_stay).map(|live| method.rest_of(live)).max().unwrap_or(0);
        let [longest, wanted] = row(capacity);
        expect_few([longest, wanted])?;
        let dropping = plus_one("vispruner: keep", resting)?;
        let state = |live: u32| if live > all_stay { dropping + (row(live)[0] - wanted) } else { row(live)[0] };
        let (states, _) = count_by_length(graph, lengths, capacity, state)?;
        let entries = u64::from(dropping) + u64::from(longest - wanted) + 1;
        let entries = u32::try_from(entries).unwrap_or(u32::MAX);
        let mut table = |of: &dyn Fn([u32; 4], u32) -> u32| {
            let entry = |state: u32| match state.checked_sub(dropping) {
                Some(more) => of(counts_of(wanted + more, wanted), state),
                None => of(counts_of(state, state), state),
            };
            graph.listed("vispruner: a table of every length", [entries], || (0..entries).map(entry).collect())
        };
        let tables = vec![
            table(&|[even, ..], _| even)?,
            table(&|[_, odd, ..], _| odd)?,
            table(&|[_, _, dropped, _], _| dropped)?,
            table(&|[.., kept], _| kept)?,
            table(&|[_, _, dropped, _], state| state - dropped)?,
        ];
        Ok(Self::Counted { states, tables, resting, longest, wanted })
    }

    /// The longest rest of any row.
    fn longest(&self) -> u32 {
        match self {
            Self::Known { rows, .. } => rows.iter().map(|[left, _]| *left).max().unwrap_or(0),
            Self::Counted { resting, longest, .. } => *longest.max(resting),
        }
    }

    /// The most that a row drops in a round: of longer rests no fewer are dropped.
    fn most_dropped(&self) -> u32 {
        match self {
            Self::Known { rows, .. } => rows.iter().map(|[left, wanted]| counts_of(*left, *wanted)[2]).max().unwrap_or(0),
            Self::Counted { longest, wanted, .. } => counts_of(*longest, *wanted)[2],
        }
    }

    /// The four counts of every row, u32 `[batch]` each.
    fn counts(&self, graph: &mut Graph) -> Result<[Tensor; 4], Error> {
        match self {
            Self::Known { batch, rows } => Ok([0, 1, 2, 3].map(|of| match rows[..] {
                [[left, wanted]] => graph.filled([*batch], counts_of(left, wanted)[of]),
                _ => graph.constant(HostTensor::u32([*batch], rows.iter().map(|[left, wanted]| counts_of(*left, *wanted)[of]).collect())),
            })),
            Self::Counted { states, tables, .. } => {
                let mut of = |count: usize| lookup(graph, tables[count], *states);
                Ok([of(0)?, of(1)?, of(2)?, of(3)?])
            }
        }
    }

    /// The next round. A longer rest stays at least as long as a shorter one.
    fn next(&mut self, graph: &mut Graph) -> Result<(), Error> {
        match self {
            Self::Known { rows, .. } => rows.iter_mut().for_each(|[left, wanted]| *left -= counts_of(*left, *wanted)[2]),
            Self::Counted { states, tables, longest, wanted, .. } => {
                *states = lookup(graph, tables[4], *states)?;
                *longest -= counts_of(*longest, *wanted)[2];
            }
        }
        Ok(())
    }
}

/// Entries `first`, `first + 2` .. of a list `[batch, entries]`, `count` of them.
fn every_second(graph: &mut Graph, list: Tensor, first: u32, count: u32) -> Result<Tensor, Error> {
    let index = graph.counted([count], first, 2);
    gather_rows(graph, list, index, None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::Elem;

    #[test]
    fn more_rounds_than_a_graph_has_are_refused() {
        let build = |lengths: Option<Vec<u32>>, batch: u32, capacity: u32| {
            let mut graph = Graph::new();
            let mut tokens = graph.tokens("x", [batch, capacity, 4], Elem::F32)?;
            if let Some(lengths) = lengths {
                tokens.lengths = graph.constant(HostTensor::u32([batch], lengths));
            }
            let score = graph.input("score", [batch, capacity], Elem::F32);
            VisPruner { keep: 8, important: 0.5 }.build(&mut graph, &tokens, score).map(|_| graph.calls())
        };
        assert!(build(None, 2, 4096).is_ok_and(|calls| calls < 10_000));
        assert!(matches!(build(None, 1, 1 << 20), Err(Error::Value { .. })));
        assert!(matches!(build(Some((0..1 << 18).collect()), 1 << 18, 8192), Err(Error::Shape { .. })));
    }
}
