//! As few tokens as hold a share of the scores.

use crate::error::Error;
use crate::graph::{Graph, Tensor};
use crate::kernels::{
    Limit, Order, Relation, Statistic, Threshold, ThresholdInputs, TopK, TopKInputs, compact, cumulative_sum, gather_rows, lookup, mark,
    reduce, scale,
};
use crate::methods::cache::state::Rows;
use crate::methods::cache::{AlwaysKept, Cache, CacheBudget, Evicted};
use crate::methods::parts::lists::first_entries;
use crate::options;
use crate::pattern::{Pattern, Piece};
use crate::tensor::{Desc, Elem, HostTensor, NONE};
use crate::token_map::{TokenMap, count_by_length};

/// Keeps as few tokens of each head as hold a share of the scores' sum: a budget that each head finds for itself, on the GPU.
///
/// ```text
/// tokens in falling order of their scores, what is always kept first;   token t stays  iff  sum of the scores before it < share * sum of all
/// and no more stay than `most` says
/// ```
///
/// With scores that are attention ([`ObservedAttention`](super::ObservedAttention), [`SnapKV`](super::SnapKV) without smoothing,
/// [`tova`](super::tova())) the rest is what those queries forget: at most `1 - share` of their attention, in the mean over them.
/// [`Evicted::forgotten`] measures it. This is top-p sampling's rule, asked of keys; FastGen and OpenVINO's `ADAPTIVE_RKV` have it too.
///
/// - Scores are 0 or more. Ties go to the lowest place.
/// - The best token stays whatever the share is, unless the budget is 0.
/// - A share of 1 keeps all that the budget allows, also tokens that score 0. So does a head with a NaN score.
/// - What is always kept counts with its scores, and raises the budget where it must.
///
/// Cost: a selection, a running sum, a compaction, a copy each of the kept keys, values and positions, and about ten small dispatches. The new
/// capacity is `most` of N: memory is for the worst case, and work is by the lengths.
///
/// ```
/// use tokenpress::methods::{AlwaysKept, Cache, CacheBudget, TopP};
/// use tokenpress::{Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// let keys = graph.constant(HostTensor::f32([1, 2, 4, 1], vec![0.0; 8]));
/// let cache = Cache::new(&mut graph, keys, keys)?;
/// // One head attends to a single token, the other to all.
/// let scores = graph.constant(HostTensor::f32([1, 2, 4], vec![0.0, 0.875, 0.0625, 0.0625, 0.25, 0.25, 0.25, 0.25]));
/// let top_p = TopP { share: 0.75, most: CacheBudget::Share(1.0), always: AlwaysKept::NOTHING };
/// let kept = top_p.build(&mut graph, &cache, scores)?;
/// graph.output("lengths", kept.cache.lengths)?;
/// assert_eq!(graph.run_reference(&[].into())?["lengths"].integers(), [1, 3]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[doc(alias("nucleus", "adaptive"))]
#[derive(Debug, Clone, Copy)]
pub struct TopP {
    /// Share of the scores' sum that stays at least, 0 to 1.
    pub share: f64,
    /// No more than so many tokens of a head stay.
    pub most: CacheBudget,
    /// What stays in any case.
    pub always: AlwaysKept,
}

impl TopP {
    /// What is left of a cache by these scores, f32 `[B, Hkv, N]`.
    ///
    /// # Errors
    /// [`Error::Shape`] and [`Error::Elem`] for other tensors, [`Error::Value`] for shares outside of 0 to 1.
    pub fn build(&self, graph: &mut Graph, cache: &Cache, scores: Tensor) -> Result<Evicted, Error> {
        let rows = cache.rows(graph)?;
        let Rows { rows: count, tokens, lengths, .. } = rows;
        let scores = rows.scores(graph, "top_p: scores", scores)?;
        options::share("top_p: share", self.share)?;
        self.most.check()?;
        let marks = self.always.marked(graph, &rows)?;
        let most = |live: u32| self.most.count(cache, live).max(self.always.least(live));
        let (counts, most) = count_by_length(graph, lengths, tokens, most)?;
        let inputs = TopKInputs { scores, lengths: Some(lengths), counts: Some(counts), marks };
        let best = TopK { k: most, order: Order::Value, ..TopK::default() }.build(graph, inputs)?;

        let sums = cumulative_sum(graph, best.values, Some(best.kept))?;
        // The sum before each.
        let nowhere = Piece { end: 1, first: NONE, step: 0 };
        let own = |first: u32| Piece { end: u32::MAX, first, step: 1 };
        let before = graph.pattern(Desc::new([count, most], Elem::U32), Pattern::Pieces([nowhere, own(0), own(0)]));
        let zero = graph.filled_f32([count, most], 0.0);
        let sums = gather_rows(graph, sums, before, Some(zero))?;
        let limit = if self.share == 1.0 {
            // No sum reaches it, not even an infinite one.
            Limit::Constant(f32::NAN)
        } else {
            let all = reduce(graph, scores, 1, Statistic::Sum, Some(lengths))?;
            let all = graph.reshape(all, [count, 1])?;
            let limit = scale(graph, all, self.share as f32)?;
            Limit::PerRow(graph.reshape(limit, [count])?)
        };
        // Those that go are asked for, since a NaN passes no threshold. What is always kept never goes, nor does the best.
        let desc = Desc::new([count, most], Elem::U32);
        let best_alone = graph.pattern(desc, Pattern::split(1, mark::EXCLUDED, mark::CANDIDATE));
        let never = match marks {
            None => best_alone,
            Some(marks) => {
                let sorted = gather_rows(graph, marks, best.indices, None)?;
                let table = graph.constant(HostTensor::u32([3], vec![mark::CANDIDATE, mark::EXCLUDED, mark::CANDIDATE]));
                let sorted = lookup(graph, table, sorted)?;
                let others = graph.pattern(desc, Pattern::Pieces([nowhere, own(1), own(1)]));
                gather_rows(graph, sorted, others, Some(best_alone))?
            }
        };
        let inputs = ThresholdInputs { lengths: Some(best.kept), marks: Some(never), ..ThresholdInputs::new(sums, limit) };
        let goes = Threshold { relation: Relation::AtLeast }.build(graph, inputs)?;
        let table = graph.constant(HostTensor::u32([2], vec![1, 0]));
        let stays = lookup(graph, table, goes)?;
        let none = graph.filled([count, tokens], 0);
        let mask = gather_rows(graph, stays, best.places, Some(none))?;
        let kept = compact(graph, mask, Some(lengths))?;
        let representative = first_entries(graph, kept.indices, most)?;
        cache.keep(graph, TokenMap { parent: kept.ranks, representative, lengths: kept.counts })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Positions that stay of six tokens with these scores.
    fn left(share: f64, most: u32, always: [u32; 2], scores: [f32; 6]) -> Vec<u32> {
        let mut graph = Graph::new();
        let keys = graph.constant(HostTensor::f32([1, 1, 6, 1], vec![0.0; 6]));
        let cache = Cache::new(&mut graph, keys, keys).unwrap();
        let scores = graph.constant(HostTensor::f32([1, 1, 6], scores.to_vec()));
        let always = AlwaysKept { sinks: always[0], recent: always[1], marks: None };
        let kept = TopP { share, most: CacheBudget::Tokens(most), always }.build(&mut graph, &cache, scores).unwrap();
        graph.output("positions", kept.cache.positions).unwrap();
        graph.output("lengths", kept.cache.lengths).unwrap();
        let out = graph.run_reference(&[].into()).unwrap();
        out["positions"].integers()[..out["lengths"].integers()[0] as usize].to_vec()
    }

    #[test]
    fn as_few_as_hold_the_share() {
        let scores = [1.0, 8.0, 0.0, 4.0, 2.0, 1.0];
        assert_eq!(left(0.5, 6, [0, 0], scores), [1]);
        assert_eq!(left(0.75, 6, [0, 0], scores), [1, 3]);
        assert_eq!(left(0.8, 6, [0, 0], scores), [1, 3, 4]);
        assert_eq!(left(1.0, 6, [0, 0], scores), [0, 1, 2, 3, 4, 5]);
        // The budget is smaller.
        assert_eq!(left(0.8, 2, [0, 0], scores), [1, 3]);
        assert_eq!(left(0.8, 0, [0, 0], scores), [0; 0]);
        // What is always kept counts, and stays beyond the share.
        assert_eq!(left(0.75, 6, [1, 1], scores), [0, 1, 3, 5]);
        assert_eq!(left(0.0, 6, [1, 1], scores), [0, 5]);
        assert_eq!(left(0.0, 6, [0, 0], scores), [1]);
    }

    #[test]
    fn a_head_without_a_sum_keeps_its_budget_or_its_first_token() {
        assert_eq!(left(0.5, 6, [0, 0], [0.0; 6]), [0]);
        assert_eq!(left(0.5, 6, [1, 0], [0.0; 6]), [0]);
        assert_eq!(left(0.5, 4, [0, 0], [1.0, 2.0, f32::NAN, 3.0, 4.0, 5.0]), [1, 3, 4, 5]);
    }
}
