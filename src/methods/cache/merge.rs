//! What is evicted goes into what stays.

use crate::checks::expect;
use crate::error::Error;
use crate::graph::{Graph, Tensor};
use crate::kernels::{
    Activation, BipartiteMatch, Elementwise, Limit, Partition, Reduce, Relation, Statistic, Threshold, ThresholdInputs, add, compact,
    gather_rows, group_tokens, log_size, merge_tokens, multiply, reduce, row_normalize, scale,
};
use crate::methods::cache::state::Rows;
use crate::methods::cache::{Cache, Evicted};
use crate::methods::parts::lists::choose;
use crate::options;
use crate::tensor::{Desc, Elem, HostTensor};
use crate::token_map::TokenMap;

/// How an evicted token x goes into the token t that takes it; `s` is the cosine of their keys, and n tokens go into t.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MergeRule {
    /// `t' = mean of t and of (x + t) / 2 for each x`: LOOK-M's pivotal merging (Wan et al., 2024).
    Pivot,
    /// `t' = (t + sum w x) / (1 + sum w)` with `w = max((s + 1) / 2, 10^-6)`: KVCache-Factory's `weighted`.
    Similarity,
    /// `t' = (t + sum s x) / (1 + n)`: D2O (Wan et al., ICLR 2025).
    Scaled,
    /// `t' = (t + sum w x) / (1 + sum w)` with `w = max(s, 0) |x| / (|x| + |t| + 10^-6)` of the values' lengths, for the values alone; keys
    /// stay as they are: kvpress's `MergingPress`.
    ValueNorm,
}

/// Which evicted tokens go into another.
#[derive(Debug, Clone, Copy)]
pub enum MergeThreshold {
    /// All.
    All,
    /// Those whose cosine is at least so much.
    AtLeast(f32),
    /// Those whose cosine is at least the mean of their head's: D2O's first step.
    Mean,
    /// Those whose cosine is at least half of this threshold, f32 `[B, Hkv]`, and half of the mean: D2O's next steps.
    Smoothed(Tensor),
}

/// Merges what an eviction took into what it left: each evicted token goes into the token of its head with the most similar key.
///
/// ```text
/// for each evicted x:   t = argmax over what stays of cos(key x, key t)
/// t' by the rule, for keys and values
/// ```
///
/// | code | rule | threshold |
/// |---|---|---|
/// | LOOK-M, KVCache-Factory's `pivot` | [`MergeRule::Pivot`] | all |
/// | KVCache-Factory's `weighted` | [`MergeRule::Similarity`] | all |
/// | D2O | [`MergeRule::Scaled`] | [`MergeThreshold::Mean`], then [`MergeThreshold::Smoothed`] |
/// | kvpress's `MergingPress` | [`MergeRule::ValueNorm`] | a constant, 0 as a rule |
///
/// D2O averages similarities over the heads and thresholds them together; here each head decides for itself. LOOK-M protects text tokens: that
/// is a mark of the eviction ([`AlwaysKept::marks`](super::AlwaysKept::marks)).
///
/// Keys that were rotated to different positions are merged as they are, as the published codes do. To merge them without their rotation,
/// move the cache to one position before ([`Cache::move_to`]), and its result back after.
///
/// - On ties the earliest token takes x. A token whose key has a NaN or an infinity goes into none, and none goes into it while there is another.
/// - A token that takes none stays bit for bit.
/// - [`MergeThreshold::Mean`] is NaN where a cosine is, and nothing of that head merges.
/// - The map has the token that took it as the parent of each merged token; what merged into none stays forgotten.
///
/// Cost: `2 N N' D` operations a head for the match, a grouping, a pass over keys and values each, and about fifteen small dispatches. No matrix
/// N x N'.
///
/// ```
/// use tokenpress::methods::{Cache, CacheBudget, Evict, MergeEvicted, MergeRule, MergeThreshold};
/// use tokenpress::{Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// let keys = graph.constant(HostTensor::f32([1, 1, 3, 2], vec![1.0, 0.0, 2.0, 0.0, 0.0, 1.0]));
/// let values = graph.constant(HostTensor::f32([1, 1, 3, 1], vec![2.0, 6.0, 9.0]));
/// let cache = Cache::new(&mut graph, keys, values)?;
/// let scores = graph.constant(HostTensor::f32([1, 1, 3], vec![3.0, 1.0, 2.0]));
/// let evicted = Evict { budget: CacheBudget::Tokens(2), ..Evict::UNPROTECTED }.build(&mut graph, &cache, scores)?;
/// // Token 1 has the direction of token 0.
/// let merge = MergeEvicted { rule: MergeRule::Pivot, threshold: MergeThreshold::All };
/// let merged = merge.build(&mut graph, &cache, &evicted)?;
/// graph.output("values'", merged.evicted.cache.values)?;
/// graph.output("parent", merged.evicted.map.parent)?;
/// let out = graph.run_reference(&[].into())?;
/// assert_eq!(out["values'"].floats(), [3.0, 9.0]);
/// assert_eq!(out["parent"].integers(), [0, 0, 1]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[doc(alias("LOOK-M", "D2O", "KVMerger", "merge"))]
#[derive(Debug, Clone, Copy)]
pub struct MergeEvicted {
    /// How.
    pub rule: MergeRule,
    /// Which.
    pub threshold: MergeThreshold,
}

/// What [`MergeEvicted::build`] gives.
#[derive(Debug, Clone, Copy)]
pub struct MergedCache {
    /// The cache with what went into it, and where every token went.
    pub evicted: Evicted,
    /// The threshold that was used, f32 `[B, Hkv]`, for [`MergeThreshold::Smoothed`] of the next step. A head that evicted nothing has half of
    /// the threshold before, or 0.
    pub threshold: Tensor,
}

impl MergeEvicted {
    /// The cache that `evicted` left of `before`, with what it took merged into it.
    ///
    /// # Errors
    /// [`Error::Shape`] where `evicted` is not of this cache, [`Error::Elem`] for values that are no floats, [`Error::Value`] for a threshold
    /// that is not finite.
    pub fn build(&self, graph: &mut Graph, before: &Cache, evicted: &Evicted) -> Result<MergedCache, Error> {
        let rows = before.rows(graph)?;
        let Rows { batch, heads, rows: count, tokens, lengths, .. } = rows;
        let map = evicted.map;
        expect("merge: parent", map.parent.desc(), Desc::new([count, tokens], Elem::U32))?;
        let [_, left] = map.representative.shape().exactly("merge: representative", "[B * Hkv, new]")?;
        if !before.values.elem().is_float() {
            return Err(Error::Elem { argument: "merge: values", expected: "f32, f16 or bf16", actual: before.values.elem() });
        }

        // What went, and the most similar of what stayed.
        let went = choose(graph, map.parent, left, [0, 1])?;
        let went = compact(graph, went, Some(lengths))?;
        let keys = row_normalize(graph, rows.keys, Some(lengths))?;
        let partition = Partition { sources: went.indices, destinations: map.representative };
        let matches = BipartiteMatch::default().build(graph, keys, partition, Some(lengths))?;
        let similarity = matches.similarity;

        let mean = |graph: &mut Graph| reduce(graph, similarity, 1, Statistic::Mean, Some(went.counts));
        let limit = match self.threshold {
            // Below every cosine, and above what has no partner.
            MergeThreshold::All => graph.filled_f32([count], f32::MIN),
            MergeThreshold::AtLeast(least) => {
                options::finite("merge: threshold", least)?;
                graph.filled_f32([count], least)
            }
            MergeThreshold::Mean => mean(graph)?,
            MergeThreshold::Smoothed(previous) => {
                expect("merge: threshold", previous.desc(), Desc::new([batch, heads], Elem::F32))?;
                let previous = graph.reshape(previous, [count])?;
                let (mean, previous) = (mean(graph)?, scale(graph, previous, 0.5)?);
                Elementwise { scale: 0.5, ..Elementwise::default() }.build(graph, previous, mean)?
            }
        };
        let inputs = ThresholdInputs { lengths: Some(went.counts), ..ThresholdInputs::new(similarity, Limit::PerRow(limit)) };
        let merges = Threshold { relation: Relation::AtLeast }.build(graph, inputs)?;
        // The list of those that merge: their places in the list of what went, and the tokens' places in this one.
        let merging = compact(graph, merges, Some(went.counts))?;
        let place = gather_rows(graph, merging.ranks, went.ranks, None)?;
        let of_merging = |graph: &mut Graph, x: Tensor| gather_rows(graph, x, merging.indices, None);
        let partner = of_merging(graph, matches.partner)?;
        let similarity = of_merging(graph, similarity)?;
        let parent = gather_rows(graph, partner, place, Some(map.parent))?;
        let groups = group_tokens(graph, parent, left)?;

        let value_width = before.values.shape().dims()[3];
        let values = graph.reshape(before.values, [count, tokens, value_width])?;
        let ones = graph.filled_f32([count, tokens], 1.0);
        // A weight for each token that merges; 1 for those that stay.
        let with_ones = |graph: &mut Graph, weights: Tensor| gather_rows(graph, weights, place, Some(ones));
        let (weights, how) = match self.rule {
            MergeRule::Pivot | MergeRule::Scaled => {
                // 1 / (1 + n) is the mean of a 1 for what stays and zeros for what goes into it.
                let zeros = graph.filled_f32([count, tokens], 0.0);
                let stays = gather_rows(graph, zeros, place, Some(ones))?;
                let share = merge_tokens(graph, stays, groups, None, Reduce::Mean)?;
                let share = gather_rows(graph, share, parent, None)?;
                match self.rule {
                    MergeRule::Pivot => (add(graph, share, stays)?, Reduce::WeightedMean),
                    _ => {
                        let similarity = with_ones(graph, similarity)?;
                        (multiply(graph, share, similarity)?, Reduce::WeightedSum)
                    }
                }
            }
            MergeRule::Similarity => {
                const LEAST: f32 = 1e-6;
                let offset = graph.constant(HostTensor::f32([1], vec![0.5 - LEAST]));
                let half = scale(graph, similarity, 0.5)?;
                let above = Elementwise { activation: Activation::Relu, ..Elementwise::default() }.build(graph, half, offset)?;
                let least = graph.constant(HostTensor::f32([1], vec![LEAST]));
                let weights = add(graph, above, least)?;
                (with_ones(graph, weights)?, Reduce::WeightedMean)
            }
            MergeRule::ValueNorm => {
                let norms = row_normalize(graph, values, Some(lengths))?.norm;
                let own = gather_rows(graph, norms, went.indices, None)?;
                let own = of_merging(graph, own)?;
                let others = gather_rows(graph, norms, map.representative, None)?;
                let others = gather_rows(graph, others, partner, None)?;
                let epsilon = graph.constant(HostTensor::f32([1], vec![1e-6]));
                let others = add(graph, others, epsilon)?;
                // a / (a + b) = sigmoid(ln a - ln b)
                let (own, others) = (log_size(graph, own, None)?, log_size(graph, others, None)?);
                let ratio = Elementwise { scale: -1.0, activation: Activation::Sigmoid, ..Elementwise::default() };
                let ratio = ratio.build(graph, own, others)?;
                let zero = graph.constant(HostTensor::f32([1], vec![0.0]));
                let above = Elementwise { activation: Activation::Relu, ..Elementwise::default() }.build(graph, similarity, zero)?;
                let weights = multiply(graph, ratio, above)?;
                (with_ones(graph, weights)?, Reduce::WeightedMean)
            }
        };
        let mut merged = |x: Tensor, width: u32| {
            let merged = merge_tokens(graph, x, groups, Some(weights), how)?;
            graph.reshape(merged, [batch, heads, left, width])
        };
        let keys = if self.rule == MergeRule::ValueNorm { evicted.cache.keys } else { merged(rows.keys, rows.depth)? };
        let values = merged(values, value_width)?;
        let map = TokenMap { parent, ..map };
        let threshold = graph.reshape(limit, [batch, heads])?;
        Ok(MergedCache { evicted: Evicted { cache: Cache { keys, values, ..evicted.cache }, map }, threshold })
    }
}
