//! PuMer: image tokens that the text does not look at are pruned, then image and text are merged, each within itself.
//!
//! Cao, Paranjape and Hajishirzi, "PuMer: Pruning and Merging Tokens for Efficient Vision Language Models" (ACL 2023).

use super::prune::{Prune, Pruned, keep_listed};
use super::{Protect, ToMe};
use crate::error::Error;
use crate::graph::{Graph, Tensor};
use crate::kernels::{
    Among, AssignInputs, AssignTokens, AttentionInputs, AttentionScore, HeadReduction, Neighbours, Norm, Order, Partition, Queries, Reduce,
    RowReduction, Selection, Statistic, TopK, TopKInputs, concat_rows, gather_rows, multiply, reduce,
};
use crate::schedule::{Rounding, keep_count};
use crate::tensor::HostTensor;
use crate::token_map::{Compressed, TokenMap, Tokens, count_by_length};

/// What the text says about image tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum TextScore {
    /// The attention that they receive from the text, mean over heads: the published choice.
    #[default]
    MeanOfHeads,
    /// The same of the first head alone.
    FirstHead,
    /// Inner products of the keys' means over heads.
    Keys,
}

/// How image tokens merge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum PuMerMerge {
    /// By cosine of keys, into the mean: [`ToMe`], as published for ViLT.
    #[default]
    Average,
    /// By cosine of keys times scores, into the sum, as published for METER.
    Sum,
    /// Those whose scores differ least, into the sum; none is protected.
    ScoreDifference,
}

/// Keeps the image tokens that the text attends to most, in descending attention, and merges what is left of image and text.
///
/// ```text
/// s_j = sum over text rows i of mean over heads of softmax_j(q_i . k_j / sqrt(D)) / length of the text
/// keep max(L - round(prune L), 1) of the L image tokens by s in descending order
/// merge round(merge L) of those, and round(merge_text T) of the T text tokens: the even ranks are sources, the odd ones destinations,
/// the first of each is protected
/// ```
///
/// Halves are rounded to even. Sums run over padding rows of the text too, as in the published code. Sizes start at 1 with each call.
///
/// ```
/// use tokenpress::methods::PuMer;
/// use tokenpress::{Elem, Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// let tokens = graph.tokens("x", [1, 12, 1], Elem::F32)?;
/// let [queries, keys] = ["q", "k"].map(|name| graph.input(name, [1, 1, 12, 1], Elem::F32));
/// let mask = graph.constant(HostTensor::f32([1, 2], vec![1.0; 2]));
/// let length = graph.constant(HostTensor::u32([1], vec![2]));
/// let reduced = PuMer { prune: 0.2, ..Default::default() }.build(&mut graph, &tokens, (mask, length), queries, keys)?;
/// graph.output("lengths", reduced.compressed.tokens.lengths)?;
/// let heads = HostTensor::f32([1, 1, 12, 1], (0..12).map(|i| (i % 5) as f32).collect());
/// let inputs = [("x", heads.clone().reshaped([1, 12, 1])), ("q", heads.clone()), ("k", heads)].map(|(n, v)| (n.to_owned(), v));
/// // Of 10 image tokens 2 are pruned and 3 merge.
/// assert_eq!(graph.run_reference(&inputs.into())?["lengths"].integers(), [2 + 5]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PuMer {
    /// Share of the image tokens that is pruned.
    pub prune: f64,
    /// Share of the image tokens, before the pruning, that merges away; at most half of what is left.
    pub merge: f64,
    /// Share of the text tokens that merges away, at most half.
    pub merge_text: f64,
    /// What decides which are pruned.
    pub score: TextScore,
    /// How image tokens merge.
    pub style: PuMerMerge,
}

/// The published setting for ViLT.
impl Default for PuMer {
    fn default() -> Self {
        Self { prune: 0.1, merge: 0.3, merge_text: 0.2, score: TextScore::default(), style: PuMerMerge::default() }
    }
}

/// Tokens after PuMer, and what decided.
#[derive(Debug, Clone, Copy)]
pub struct PuMerOutput {
    /// `[text.., image..]`, and where every token went.
    pub compressed: Compressed,
    /// Its mask, `[batch, tokens]` f32: the text's merged like its tokens, so that it may be fractional, and 1 for the image.
    pub mask: Tensor,
    /// Score of each image token, `[batch, image]` f32.
    pub score: Tensor,
    /// The image tokens that were not pruned.
    pub selection: Selection,
    /// Text tokens left, `[batch]` u32.
    pub text_lengths: Tensor,
}

impl PuMer {
    /// Reduces `tokens`, text then image, by the queries and keys `[batch, heads, tokens, channels]` of the layer's attention. `text` is
    /// the text's mask `[batch, text]` f32, which says how many tokens are text, and the number of those that are no padding,
    /// `[batch]` u32. Rows must be full.
    pub fn build(
        &self,
        graph: &mut Graph,
        tokens: &Tokens,
        text: (Tensor, Tensor),
        queries: Tensor,
        keys: Tensor,
    ) -> Result<PuMerOutput, Error> {
        let (batch, capacity) = (tokens.batch(), tokens.capacity());
        let (mask, text_lengths) = text;
        let [_, text_tokens] = mask.shape().exactly("pumer: text mask", "[batch, text]")?;
        if text_tokens > capacity {
            let (expected, actual) = (format!("[{batch}, text] for at most {capacity} tokens"), mask.shape());
            return Err(Error::Shape { argument: "pumer: text mask", expected, actual });
        }
        tokens.expect_full(graph, "pumer: lengths", "text and image")?;
        let tokens = Tokens::ragged(graph, tokens.x, tokens.lengths)?;
        let image_tokens = capacity - text_tokens;
        let mut part = |range: std::ops::Range<u32>| {
            let count = range.end - range.start;
            let list = graph.constant(HostTensor::u32([batch, count], range.collect::<Vec<_>>().repeat(batch as usize)));
            let lengths = graph.constant(HostTensor::u32([batch], vec![count; batch as usize]));
            keep_listed(graph, &tokens, list, lengths)
        };
        let (text, image) = (part(0..text_tokens)?, part(text_tokens..capacity)?);
        let metric = reduce(graph, keys, 1, Statistic::Mean, None)?;
        let score = self.score(graph, metric, queries, keys, text_tokens, text_lengths)?;

        let share = self.prune;
        let keep = move |live: u32| (live - keep_count(live, share, Rounding::NearestEven)).max(1);
        let Pruned { compressed: pruned, selection } = Prune { order: Order::Value }.build(graph, &image.tokens, score, None, keep)?;
        let pruned_map = image.map.then(graph, &pruned.map)?;
        let image_metric = pruned_map.gather(graph, metric)?;
        let merge = keep_count(image_tokens, self.merge, Rounding::NearestEven);
        let merged = self.merge(graph, &pruned.tokens, selection, image_metric, merge)?;
        let image = Compressed { map: pruned_map.then(graph, &merged.map)?, ..merged };

        let text_metric = text.map.gather(graph, metric)?;
        let merge = keep_count(text_tokens, self.merge_text, Rounding::NearestEven);
        let merged = ToMe { merge, protect: Protect::CLASS, ..Default::default() }.build(graph, &text.tokens, text_metric)?;
        let text_mask = merged.map.merge(graph, mask, None, Reduce::Mean)?;
        let text = Compressed { map: text.map.then(graph, &merged.map)?, ..merged };
        let rows = image.tokens.capacity();
        let ones = graph.constant(HostTensor::f32([batch, rows], vec![1.0; (batch * rows) as usize]));
        let (mask, _) = concat_rows(graph, (text_mask, Some(text.tokens.lengths)), (ones, Some(image.tokens.lengths)))?;
        let compressed = text.append(graph, &image)?;
        Ok(PuMerOutput { compressed, mask, score, selection, text_lengths: text.tokens.lengths })
    }

    /// Score of each image token.
    fn score(&self, graph: &mut Graph, metric: Tensor, queries: Tensor, keys: Tensor, text: u32, lengths: Tensor) -> Result<Tensor, Error> {
        let [batch, capacity, channels] = metric.shape().exactly("pumer: keys", "[batch, heads, tokens, channels]")?;
        let attention = AttentionScore {
            queries: Queries::List((0..text).collect()),
            norm: if self.score == TextScore::Keys { Norm::Logits } else { Norm::Softmax },
            rows: RowReduction::Sum,
            heads: if self.score == TextScore::FirstHead { HeadReduction::One(0) } else { HeadReduction::Mean },
            columns: Some(text..capacity),
            ..Default::default()
        };
        let means = graph.reshape(metric, [batch, 1, capacity, channels])?;
        let (queries, keys) = if self.score == TextScore::Keys { (means, means) } else { (queries, keys) };
        let inputs = AttentionInputs { queries, keys, bias: None, lengths: None, query_lengths: None };
        let sum = attention.score(graph, inputs)?.score;
        // 1 over every length that a text can have.
        let inverse = (0..=text).map(|length| 1.0 / length.max(1) as f32).collect();
        let inverse = graph.constant(HostTensor::f32([1, text + 1], inverse));
        let lengths = graph.reshape(lengths, [1, batch])?;
        let inverse = gather_rows(graph, inverse, lengths, None)?;
        let inverse = graph.reshape(inverse, [batch, 1])?;
        multiply(graph, sum, inverse)
    }

    /// Merges the image tokens that are left, which are in descending score.
    fn merge(&self, graph: &mut Graph, tokens: &Tokens, selection: Selection, metric: Tensor, merge: u32) -> Result<Compressed, Error> {
        let tome = ToMe { merge, protect: Protect::CLASS, ..Default::default() };
        let map = match self.style {
            PuMerMerge::Average => return tome.build(graph, tokens, metric),
            PuMerMerge::Sum => {
                let scores = graph.reshape(selection.values, [tokens.batch(), tokens.capacity(), 1])?;
                let weighted = multiply(graph, metric, scores)?;
                tome.decide(graph, tokens, weighted)?.map(|merging| merging.map)
            }
            PuMerMerge::ScoreDifference => Some(least_difference(graph, tokens, selection.values, merge)?),
        };
        let Some(map) = map else {
            return Ok(Compressed { tokens: *tokens, map: TokenMap::identity(graph, tokens)? });
        };
        map.compress(graph, tokens, None, Reduce::Sum)
    }
}

/// Merges the `merge` even tokens whose score is nearest to that of an odd one. Output: the other even ones in ascending
/// difference, then the odd ones.
fn least_difference(graph: &mut Graph, tokens: &Tokens, scores: Tensor, merge: u32) -> Result<TokenMap, Error> {
    let (batch, capacity) = (tokens.batch(), tokens.capacity());
    let partition = Partition::even_odd(graph, capacity);
    let rows = graph.reshape(scores, [batch, capacity, 1])?;
    let among = Among { queries: Some(partition.sources), candidates: Some(partition.destinations), lengths: Some(tokens.lengths) };
    let nearest = Neighbours { nearest: 1, exclude_self: false }.closest(graph, rows, among)?;
    let sources = capacity.div_ceil(2);
    let (difference, partner) = (graph.reshape(nearest.values, [batch, sources])?, graph.reshape(nearest.indices, [batch, sources])?);
    let merged = move |live: u32| merge.min(live / 2);
    let (lengths, _) = count_by_length(graph, tokens.lengths, capacity, |live| live.div_ceil(2))?;
    let (counts, most) = count_by_length(graph, tokens.lengths, capacity, merged)?;
    let (_, outputs) = count_by_length(graph, tokens.lengths, capacity, |live| live - merged(live))?;
    let select = TopK { k: most, order: Order::Value, largest: false, complement: Some(Order::Value), mask: false };
    let selection = select.select(graph, TopKInputs { scores: difference, lengths: Some(lengths), counts: Some(counts), marks: None })?;
    let inputs = AssignInputs {
        partition,
        lengths: Some(tokens.lengths),
        partner,
        selected: selection.indices,
        unmerged: selection.complement.unwrap_or(selection.indices),
        kept: selection.kept,
    };
    let assigned = AssignTokens { tokens: capacity, outputs, interleave: false }.assign(graph, inputs)?;
    Ok(TokenMap { parent: assigned.parent, representative: assigned.representative, lengths: assigned.lengths })
}
