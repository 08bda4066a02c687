//! How PuMer merges image and text, each within itself.

use crate::error::Error;
use crate::graph::{Graph, Tensor};
use crate::kernels::{Among, AssignInputs, AssignTokens, Neighbours, Order, TopK, TopKInputs, multiply};
use crate::methods::parts::candidates::Candidates;
use crate::methods::parts::lists::{choose, either, first_entries};
use crate::methods::{Protect, ToMe};
use crate::token_map::{TokenMap, Tokens, count_by_length};

/// How the image tokens of [`PuMer`](crate::methods::PuMer) merge; there is an example.
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

/// How many tokens of each row merge, `[batch]` u32; the most of them, and the most that are left.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Counts {
    pub merged: (Tensor, u32),
    pub left: u32,
}

impl Counts {
    /// So many of `keep(live)` tokens of each row.
    pub(crate) fn of(graph: &mut Graph, tokens: &Tokens, keep: impl Fn(u32) -> u32, merged: impl Fn(u32) -> u32) -> Result<Self, Error> {
        let (_, left) = count_by_length(graph, tokens.lengths, tokens.capacity(), |live| keep(live) - merged(live))?;
        Ok(Self { merged: count_by_length(graph, tokens.lengths, tokens.capacity(), merged)?, left })
    }
}

impl PuMerMerge {
    /// Where tokens in descending score go.
    pub(crate) fn map(self, graph: &mut Graph, tokens: &Tokens, scores: Tensor, metric: Tensor, counts: Counts) -> Result<TokenMap, Error> {
        match self {
            Self::Average => by_cosine(graph, tokens, metric, counts),
            Self::Sum => {
                let scores = graph.reshape(scores, [tokens.batch(), tokens.capacity(), 1])?;
                let weighted = multiply(graph, metric, scores)?;
                by_cosine(graph, tokens, weighted, counts)
            }
            Self::ScoreDifference => least_difference(graph, tokens, scores, counts),
        }
    }
}

/// ToMe's matching, the first token protected. Rows of which nothing merges stay in order.
pub(crate) fn by_cosine(graph: &mut Graph, tokens: &Tokens, metric: Tensor, counts: Counts) -> Result<TokenMap, Error> {
    let identity = TokenMap::identity(graph, tokens)?;
    if counts.merged.1 == 0 {
        return Ok(identity);
    }
    let among = Candidates::even_odd(graph, tokens, 1, counts.merged, counts.left)?;
    let tome = ToMe { protect: Protect::CLASS, ..Default::default() };
    let merged = tome.decide_among(graph, tokens, metric, among)?.map;
    if tokens.is_full(graph) {
        return Ok(merged);
    }
    let merges = choose(graph, counts.merged.0, 1, [0, 1])?;
    let merges = graph.reshape(merges, [tokens.batch(), 1])?;
    let parent = either(graph, merges, [identity.parent, merged.parent])?;
    let own = first_entries(graph, identity.representative, counts.left)?;
    let representative = either(graph, merges, [own, merged.representative])?;
    Ok(TokenMap { parent, representative, lengths: merged.lengths })
}

/// Merges the even tokens whose score is nearest to that of an odd one. Output: the other even ones in ascending
/// difference, then the odd ones.
fn least_difference(graph: &mut Graph, tokens: &Tokens, scores: Tensor, counts: Counts) -> Result<TokenMap, Error> {
    let (batch, capacity) = (tokens.batch(), tokens.capacity());
    let Candidates { partition, lengths, sources, .. } = Candidates::even_odd(graph, tokens, 0, counts.merged, counts.left)?;
    let rows = graph.reshape(scores, [batch, capacity, 1])?;
    let among = Among { queries: Some(partition.sources), candidates: Some(partition.destinations), lengths: Some(lengths) };
    let nearest = Neighbours { nearest: 1, exclude_self: false }.closest(graph, rows, among)?;
    let [difference, partner] = [nearest.values, nearest.indices].map(|x| graph.reshape(x, [batch, capacity.div_ceil(2)]));
    let (merged, most) = counts.merged;
    let select = TopK { k: most, largest: false, complement: Some(Order::Value), ..Default::default() };
    let inputs = TopKInputs { lengths: Some(sources), counts: Some(merged), ..TopKInputs::new(difference?) };
    let selection = select.build(graph, inputs)?;
    let inputs =
        AssignInputs { partition, lengths: Some(lengths), partner: partner?, unmerged: selection.complement.unwrap_or(selection.indices) };
    let assigned = AssignTokens { tokens: capacity, outputs: counts.left, interleave: false }.build(graph, inputs)?;
    Ok(TokenMap { parent: assigned.parent, representative: assigned.representative, lengths: assigned.lengths })
}
