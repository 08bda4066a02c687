//! Tokens that merge with the one before: what A-ToMe, FastAdaSP, SAMP and FrameFusion share.

use crate::error::Error;
use crate::graph::{Graph, Tensor};
use crate::kernels::{
    Limit, Relation, RunSegments, Threshold, ThresholdInputs, TopK, TopKInputs, compact, gather_rows, mark, pair_similarity, previous_at,
    row_normalize,
};
use crate::methods::parts::lists::{first_entries, select_mask};
use crate::options;
use crate::schedule::{Rounding, keep_count};
use crate::token_map::{TokenMap, Tokens, count_by_length};

/// Which of the pairs that may merge do so.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum PairChoice {
    /// The `int(live * ratio)` most similar ones of a row of `live` tokens.
    Merge(f64),
    /// The `live - max(round(live * ratio), 2)` most similar ones, halves rounded to even: as many tokens stay, if every pair is one
    /// token less.
    Keep(f64),
    /// Those that are at least this similar, however many they are.
    Similarity(f32),
}

impl PairChoice {
    fn check(self, argument: &'static str) -> Result<(), Error> {
        match self {
            Self::Merge(ratio) | Self::Keep(ratio) => options::share(argument, ratio),
            Self::Similarity(threshold) => options::threshold("runs: similarity", threshold),
        }
    }

    /// How many pairs of `live` tokens merge; 0 where it is not a matter of the number.
    pub(crate) fn count(self, live: u32) -> u32 {
        match self {
            Self::Merge(ratio) => keep_count(live, ratio, Rounding::Floor),
            Self::Keep(ratio) => live.saturating_sub(keep_count(live, ratio, Rounding::NearestEven).max(2)),
            Self::Similarity(_) => 0,
        }
    }
}

/// What was decided about tokens and those before them.
#[derive(Debug, Clone, Copy)]
pub struct Runs {
    /// Where every token goes.
    pub map: TokenMap,
    /// Cosine of each token and the one before it, `[batch, tokens]` f32; -infinity for the first.
    pub similarity: Tensor,
    /// 1 for each token that is chosen to merge with the one before, `[batch, tokens]` u32.
    pub joins: Tensor,
}

/// Which pairs of neighbours may merge, and what becomes of those that overlap.
pub(crate) struct Neighbours {
    pub choice: PairChoice,
    /// Only tokens 2i and 2i + 1.
    pub disjoint: bool,
    /// Of a run of chosen pairs, segments of two tokens at most.
    pub pairs: bool,
}

impl Neighbours {
    /// Decides on `metric`, `[batch, tokens, channels]` or keys `[batch, heads, tokens, channels]`, whose mean is then the metric.
    pub(crate) fn decide(&self, graph: &mut Graph, tokens: &Tokens, metric: Tensor, argument: &'static str) -> Result<Runs, Error> {
        self.choice.check(argument)?;
        tokens.expect_metric("runs: metric", metric)?;
        let (capacity, lengths) = (tokens.capacity(), Some(tokens.lengths));
        let normalized = row_normalize(graph, metric, lengths)?;
        let previous = previous_at(graph, capacity, 1);
        let similarity = pair_similarity(graph, normalized, previous, lengths)?;
        let may_join = |i: u32| if self.disjoint { i % 2 == 1 } else { i > 0 };
        let marks = || (0..capacity).map(|i| if may_join(i) { mark::CANDIDATE } else { mark::EXCLUDED }).collect();
        let marks = Some(graph.listed("tokens", [capacity], marks)?);
        let count = |live: u32| self.choice.count(live).min(if self.disjoint { live / 2 } else { live.saturating_sub(1) });
        let joins = match self.choice {
            PairChoice::Similarity(threshold) => {
                let inputs = ThresholdInputs { lengths, marks, ..ThresholdInputs::new(similarity, Limit::Constant(threshold)) };
                Threshold { relation: Relation::AtLeast }.build(graph, inputs)?
            }
            PairChoice::Merge(_) | PairChoice::Keep(_) => {
                let (counts, k) = count_by_length(graph, tokens.lengths, capacity, count)?;
                let inputs = TopKInputs { lengths, counts: Some(counts), marks, ..TopKInputs::new(similarity) };
                select_mask(graph, TopK { k, ..Default::default() }, inputs)?
            }
        };
        // Every chosen pair is one token less; of pairs that overlap, every second one at least.
        let merged = |live: u32| if self.pairs && !self.disjoint { count(live).div_ceil(2) } else { count(live) };
        let (_, outputs) = count_by_length(graph, tokens.lengths, capacity, |live| live - merged(live))?;
        let map = collapse(graph, tokens, joins, previous, self.pairs, outputs)?;
        Ok(Runs { map, similarity, joins })
    }
}

/// Every token that joins goes where the one before it went; the first token of each segment stands for it, in order. No row has
/// more than `outputs` segments.
pub(crate) fn collapse(
    graph: &mut Graph,
    tokens: &Tokens,
    joins: Tensor,
    previous: Tensor,
    pairs: bool,
    outputs: u32,
) -> Result<TokenMap, Error> {
    let lengths = Some(tokens.lengths);
    let segments = RunSegments { pairs }.build(graph, joins, previous, lengths)?;
    let firsts = compact(graph, segments.starts, lengths)?;
    let parent = gather_rows(graph, firsts.ranks, segments.start, None)?;
    let representative = first_entries(graph, firsts.indices, outputs)?;
    Ok(TokenMap { parent, representative, lengths: firsts.counts })
}
