//! Some tokens stay, all others are dropped.

use std::ops::Range;

use crate::error::Error;
use crate::graph::{Graph, Tensor};
use crate::kernels::{compact, keep_live};
use crate::methods::parts::lists::first_entries;
use crate::token_map::{Compressed, TokenMap, Tokens, count_by_length};

/// The tokens at the positions `indices` `[batch, new]`, of which the first `kept[b]` are live.
pub(crate) fn keep_listed(graph: &mut Graph, tokens: &Tokens, indices: Tensor, kept: Tensor) -> Result<Compressed, Error> {
    TokenMap::selection(graph, indices, kept, tokens.capacity())?.pick(graph, tokens)
}

/// The tokens at the positions of a range.
pub(crate) fn keep_range(graph: &mut Graph, tokens: &Tokens, range: Range<u32>) -> Result<Compressed, Error> {
    let live = |live: u32| live.min(range.end).saturating_sub(range.start);
    let (kept, _) = count_by_length(graph, tokens.lengths, tokens.capacity(), live)?;
    let list = graph.counted([tokens.batch(), range.end.saturating_sub(range.start)], range.start, 1);
    let list = if tokens.is_full(graph) { list } else { keep_live(graph, list, kept)? };
    keep_listed(graph, tokens, list, kept)
}

/// The tokens whose entry of `mask` `[batch, tokens]` is not 0, in order. No row has more than `outputs` of them.
pub(crate) fn keep_marked(graph: &mut Graph, tokens: &Tokens, mask: Tensor, outputs: u32) -> Result<Compressed, Error> {
    let kept = compact(graph, mask, Some(tokens.lengths))?;
    let indices = first_entries(graph, kept.indices, outputs)?;
    keep_listed(graph, tokens, indices, kept.counts)
}
