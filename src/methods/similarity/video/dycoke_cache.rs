//! DyCoke's dynamic part, for the decoding.
//!
//! Tao et al., "DyCoke: Dynamic Compression of Tokens for Fast Video Large Language Models" (CVPR 2025).

use crate::error::Error;
use crate::graph::{Graph, Tensor};
use crate::kernels::operands::lengths_or_full;
use crate::kernels::{
    Limit, Relation, Threshold, ThresholdInputs, TopK, TopKInputs, concat_rows, pair_similarity, previous_at, row_normalize,
};
use crate::methods::parts::lists::{choose, either, rows_of};
use crate::options;
use crate::schedule::{Rounding, keep_count};
use crate::token_map::count_by_length;

/// Which of the video's keys and values a decoding step uses.
///
/// ```text
/// where cos(a, a of the last step) < similarity: select the int(keep n) of n tokens of highest attention a
/// elsewhere the last step's selection stays
/// ```
///
/// `a` is the attention that the newest token pays to the video's, a mean over the heads, as
/// [`AttentionScore`](crate::kernels::AttentionScore) gives it with [`Queries::Last`](crate::kernels::Queries). All of it stays on
/// the GPU; the published code reads the decision and the list back at every step.
///
/// Cost of a step, whether or not the selection changes: one selection of N numbers, one cosine of two rows of N numbers, a few
/// small dispatches. The keys and values are not touched.
///
/// ```
/// use tokenpress::methods::{DyCokeCache, DyCokeStep};
/// use tokenpress::{Graph, HostTensor, NONE};
///
/// let mut graph = Graph::new();
/// let last = DyCokeStep {
///     attention: graph.constant(HostTensor::f32([1, 4], vec![0.0; 4])),
///     selected: graph.constant(HostTensor::u32([1, 2], vec![NONE; 2])),
/// };
/// let attention = graph.constant(HostTensor::f32([1, 4], vec![0.1, 0.4, 0.2, 0.3]));
/// let step = DyCokeCache { keep: 0.5, similarity: 0.9 }.step(&mut graph, attention, None, last)?;
/// graph.output("selected", step.selected)?;
/// assert_eq!(graph.run_reference(&[].into())?["selected"].integers(), [1, 3]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DyCokeCache {
    /// Share of the video's tokens that is used, 0 to 1; the published code's is 0.3.
    pub keep: f64,
    /// Similarity of two steps' attention below which the selection is made anew; the published code's is 0.9.
    pub similarity: f32,
}

/// The attention of a decoding step and the tokens that it uses.
#[derive(Debug, Clone, Copy)]
pub struct DyCokeStep {
    /// f32 `[batch, tokens]`; zeros before the first step, and after live tokens.
    pub attention: Tensor,
    /// u32 `[batch, capacity]`, in descending attention: `int(keep tokens)` of them at most.
    pub selected: Tensor,
}

impl DyCokeCache {
    /// The selection for `attention` `[batch, tokens]` f32, after the step `last`. The first `lengths[b]` tokens are alive (u32
    /// `[batch]`, all for `None`).
    pub fn step(&self, graph: &mut Graph, attention: Tensor, lengths: Option<Tensor>, last: DyCokeStep) -> Result<DyCokeStep, Error> {
        let [batch, tokens] = attention.shape().exactly("dycoke: attention", "[B, N]")?;
        options::share("dycoke: keep", self.keep)?;
        options::threshold("dycoke: similarity", self.similarity)?;
        let keep = |live: u32| keep_count(live, self.keep, Rounding::Floor);
        let lengths = lengths_or_full(graph, lengths, batch, tokens);
        let (counts, _) = count_by_length(graph, lengths, tokens, keep)?;
        let select = TopK { k: keep(tokens), ..TopK::default() };
        let inputs = TopKInputs { scores: attention, lengths: Some(lengths), counts: Some(counts), marks: None };
        let fresh = select.build(graph, inputs)?.indices;

        // Both steps as tokens of a row.
        let [new, old] = [attention, last.attention].map(|step| graph.reshape(step, [batch, 1, tokens]));
        let (steps, _) = concat_rows(graph, (new?, None), (old?, None))?;
        let normalized = row_normalize(graph, steps, None)?;
        let before = previous_at(graph, 2, 1);
        let similarity = pair_similarity(graph, normalized, before, None)?;
        let inputs = ThresholdInputs::new(similarity, Limit::Constant(self.similarity));
        let changed = Threshold { relation: Relation::Below }.build(graph, inputs)?;
        let changed = rows_of(graph, changed, 1..2)?;
        let choice = choose(graph, changed, 1, [1, 0])?;
        Ok(DyCokeStep { attention, selected: either(graph, choice, [fresh, last.selected])? })
    }
}
