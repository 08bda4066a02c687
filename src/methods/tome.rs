//! ToMe: token merging by bipartite soft matching.
//!
//! Bolya et al., "Token Merging: Your ViT But Faster" (ICLR 2023), and Bolya and Hoffman, "Token Merging for Fast
//! Stable Diffusion" (2023) for the two-dimensional partition. Written from the mathematics.

use super::transformer::{KeyMask, TransformerBlock};
use crate::error::Error;
use crate::graph::{Graph, Tensor};
use crate::kernels::{
    AssignInputs, AssignTokens, Assignment, BipartiteMatch, Limit, Matches, Order, Partition, Reduce, Relation, Selection, Threshold,
    ThresholdInputs, TopK, TopKInputs, log_size, lookup, mark, row_normalize,
};
use crate::tensor::HostTensor;
use crate::token_map::{Compressed, TokenMap, Tokens, count_by_length};

/// Leading tokens that no merge may touch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Protect {
    /// Token 0 is a class token: it is never a source (and, being even, never a destination). Unmerged tokens
    /// then keep their order.
    pub class: bool,
    /// Token 1 is a distillation token: it is never a destination. The output starts with tokens 0 and 1.
    pub distillation: bool,
}

impl Protect {
    /// Every token may merge.
    pub const NONE: Self = Self { class: false, distillation: false };
    /// Token 0 is a class token.
    pub const CLASS: Self = Self { class: true, distillation: false };
    /// Token 0 is a class token, token 1 a distillation token.
    pub const CLASS_AND_DISTILLATION: Self = Self { class: true, distillation: true };

    fn tokens(self) -> u32 {
        u32::from(self.class) + u32::from(self.distillation)
    }
}

/// Which tokens are sources, that may merge into another, and which are destinations.
#[derive(Debug, Clone, Copy, Default)]
pub enum Matching {
    /// Even positions are sources, odd ones destinations.
    #[default]
    EvenOdd,
    /// The last of every group of this many tokens is a destination, the others are sources, and all sources
    /// merge. Tokens past the last whole group are dropped. [`ToMe::merge`] and [`ToMe::protect`] play no part.
    Kth(u32),
    /// The caller's lists, such as [`Partition::grid2d_random`] of tomesd or [`Partition::random`]. Every row must be
    /// full.
    Lists(Partition),
}

/// Token merging: the `merge` sources most similar to a destination are averaged into it.
///
/// ```text
/// m_i = metric_i / |metric_i|          S_ij = m_i . m_j         i in sources, j in destinations
/// v_i = max_j S_ij                     n_i = argmax_j S_ij      (lowest j on ties)
/// merge i into n_i for the r largest v_i (lowest i on ties)
/// x'_j = sum(x_i size_i) / sum(size_i) over j and all that merged into it
/// ```
///
/// `r = min(merge, (live - protected) / 2)`. The output is `[unmerged sources, destinations]`: unmerged ones in
/// descending similarity, or in ascending position where there is a class token; destinations ascending. Zero rows
/// have similarity 0; rows with a NaN or an infinity merge last.
///
/// Cost: `2 Ns Nd C` operations for the match, one read and one write of the tokens for the merge.
#[derive(Debug, Clone, Copy, Default)]
pub struct ToMe {
    /// Tokens to merge away, `r` of the paper; capped as above.
    pub merge: u32,
    /// Only sources at least this similar to their destination merge, so that an image's content decides how many: DyMU,
    /// `https://arxiv.org/abs/2504.17040`, with `merge: u32::MAX` and a threshold for each layer from
    /// [`similarity_threshold`](crate::schedule::similarity_threshold).
    pub threshold: Option<f32>,
    /// Leading tokens that stay out of it.
    pub protect: Protect,
    /// How tokens are divided into sources and destinations.
    pub matching: Matching,
}

/// What a match decided, before it is applied to anything.
#[derive(Debug, Clone, Copy)]
pub struct Merging {
    /// Where every token goes.
    pub map: TokenMap,
    /// Token positions of sources and destinations.
    pub partition: Partition,
    /// For every source, its best destination and how similar that is.
    pub matches: Matches,
    /// Which sources merge, in descending similarity; the complement stays, in output order. Both are indices into
    /// the list of sources.
    pub selection: Selection,
}

impl ToMe {
    /// Decides on `metric`, `[batch, tokens, channels]` or the keys of an attention `[batch, heads, tokens, channels]`,
    /// whose mean over the heads is then the metric, as the paper's.
    ///
    /// `None` where every row stays as it is.
    pub fn decide(&self, graph: &mut Graph, tokens: &Tokens, metric: Tensor) -> Result<Option<Merging>, Error> {
        let capacity = tokens.capacity();
        let metric_tokens = metric.shape().dims().iter().rev().nth(1).copied().unwrap_or(0);
        if metric_tokens != capacity || metric.shape().dims()[0] != tokens.batch() {
            let expected = format!("[{}, (heads,) {capacity}, channels]", tokens.batch());
            return Err(Error::Shape { argument: "tome: metric", expected, actual: metric.shape() });
        }
        let protected = self.protected();
        let partition = self.partition(graph, tokens)?;
        let row = self.row(partition);
        let (lengths, _) = count_by_length(graph, tokens.lengths, capacity, |live| row(live).within)?;
        let (sources, _) = count_by_length(graph, tokens.lengths, capacity, |live| row(live).sources)?;
        let (merged, most) = count_by_length(graph, tokens.lengths, capacity, |live| row(live).merged)?;
        let (_, outputs) = count_by_length(graph, tokens.lengths, capacity, |live| row(live).left)?;
        if most == 0 && outputs == capacity {
            return Ok(None);
        }

        let normalized = row_normalize(graph, metric, Some(tokens.lengths))?;
        let matching =
            BipartiteMatch { protected_sources: u32::from(protected.class), protected_destinations: u32::from(protected.distillation) };
        let matches = matching.find(graph, normalized, partition, Some(lengths))?;
        let source_capacity = matches.similarity.shape().dims()[1];
        let marks = protected.class.then(|| {
            let marks = (0..source_capacity).map(|i| if i == 0 { mark::EXCLUDED } else { mark::CANDIDATE }).collect();
            graph.constant(HostTensor::u32([source_capacity], marks))
        });
        let marks = match self.threshold {
            Some(threshold) => Some(similar(graph, matches.similarity, threshold, sources, marks)?),
            None => marks,
        };
        let rest = if protected.class { Order::Index } else { Order::Value };
        let select = TopK { k: most, order: Order::Value, largest: true, complement: Some(rest), mask: false };
        let inputs = TopKInputs { scores: matches.similarity, lengths: Some(sources), counts: Some(merged), marks };
        let selection = select.select(graph, inputs)?;
        let assign = AssignTokens { tokens: capacity, outputs, interleave: protected.distillation };
        // The complement was asked for just above.
        let unmerged = selection.complement.unwrap_or(selection.indices);
        let inputs = AssignInputs {
            partition,
            lengths: Some(lengths),
            partner: matches.partner,
            selected: selection.indices,
            unmerged,
            kept: selection.kept,
        };
        let Assignment { parent, representative, lengths } = assign.assign(graph, inputs)?;
        let map = TokenMap { parent, representative, lengths };
        Ok(Some(Merging { map, partition, matches, selection }))
    }

    /// Merges tokens, weighting each by its size; sizes add up.
    pub fn build(&self, graph: &mut Graph, tokens: &Tokens, metric: Tensor) -> Result<Compressed, Error> {
        let Some(Merging { map, .. }) = self.decide(graph, tokens, metric)? else {
            return Ok(Compressed { tokens: *tokens, map: TokenMap::identity(graph, tokens)? });
        };
        map.compress(graph, tokens, Some(tokens.size), Reduce::WeightedMean)
    }

    /// A whole block: attention, the merge of what comes of it by the mean of the heads' keys, and the feed-forward layers of what
    /// is left. `proportional` attention counts a token as often as its size; the paper has it but for masked autoencoders that were
    /// not trained with it.
    pub fn block(&self, graph: &mut Graph, tokens: &Tokens, block: &TransformerBlock, proportional: bool) -> Result<Compressed, Error> {
        let projected = block.project(graph, tokens.x)?;
        let bias = if proportional { Some(log_size(graph, tokens.size, Some(tokens.lengths))?) } else { None };
        let mask = KeyMask { bias, lengths: Some(tokens.lengths), query_lengths: None };
        let x = block.attend(graph, tokens.x, projected, mask)?;
        let metric = block.attention.heads_first(graph, projected.keys)?;
        let mut merged = self.build(graph, &Tokens { x, ..*tokens }, metric)?;
        merged.tokens.x = block.feed_forward(graph, merged.tokens.x)?;
        Ok(merged)
    }

    fn protected(&self) -> Protect {
        match self.matching {
            Matching::EvenOdd => self.protect,
            Matching::Kth(_) | Matching::Lists(_) => Protect::NONE,
        }
    }

    /// Token positions of sources and destinations.
    fn partition(&self, graph: &mut Graph, tokens: &Tokens) -> Result<Partition, Error> {
        let value = |argument, expected: &str, actual: String| Err(Error::Value { argument, expected: expected.to_owned(), actual });
        let capacity = tokens.capacity();
        match self.matching {
            Matching::EvenOdd => Ok(Partition::even_odd(graph, capacity)),
            Matching::Kth(0) => value("tome: stride", "at least 1", "0".to_owned()),
            Matching::Kth(stride) => Ok(Partition::strided(graph, capacity, stride)),
            Matching::Lists(partition) => {
                tokens.expect_full(graph, "tome: lengths", "a partition by lists")?;
                Ok(partition)
            }
        }
    }

    /// What becomes of a row with so many live tokens.
    fn row(&self, partition: Partition) -> impl Fn(u32) -> Row + use<> {
        let (merge, matching, protected, adaptive) = (self.merge, self.matching, self.protected(), self.threshold.is_some());
        let listed = |list: Tensor| list.shape().dims().last().copied().unwrap_or(0);
        let lists = (listed(partition.sources), listed(partition.destinations));
        move |live| {
            let (within, sources, destinations) = match matching {
                Matching::EvenOdd => (live, live.div_ceil(2), live / 2),
                Matching::Kth(stride) => {
                    let groups = live / stride.max(1);
                    (groups * stride, groups * stride.saturating_sub(1), groups)
                }
                Matching::Lists(_) => (live, lists.0, lists.1),
            };
            let merged = match matching {
                Matching::EvenOdd => merge.min(live.saturating_sub(protected.tokens()) / 2),
                Matching::Kth(_) => sources,
                Matching::Lists(_) => merge.min(sources),
            };
            let surely = if adaptive { 0 } else { merged };
            Row { within, sources, merged, left: sources - surely + destinations }
        }
    }
}

/// Counts of one batch row.
struct Row {
    /// Tokens that take part: all but the k-th variant's tail.
    within: u32,
    sources: u32,
    /// Sources that merge, at most.
    merged: u32,
    /// Output rows, at most.
    left: u32,
}

/// Marks for the choice of sources: those below the threshold do not merge.
fn similar(graph: &mut Graph, similarity: Tensor, threshold: f32, sources: Tensor, marks: Option<Tensor>) -> Result<Tensor, Error> {
    let inputs = ThresholdInputs { lengths: Some(sources), marks, ..ThresholdInputs::new(similarity, Limit::Constant(threshold)) };
    let mask = Threshold { relation: Relation::AtLeast }.mask(graph, inputs)?;
    let table = graph.constant(HostTensor::u32([2], vec![mark::EXCLUDED, mark::CANDIDATE]));
    lookup(graph, table, mask)
}
