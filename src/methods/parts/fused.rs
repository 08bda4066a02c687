//! Many tokens as one: what EViT and PruMerge share.

use crate::error::Error;
use crate::graph::{Graph, Tensor};
use crate::kernels::{Reduce, gather_rows, invert_index, merge_tokens};
use crate::methods::parts::lists::{as_one, choose};
use crate::tensor::HostTensor;
use crate::token_map::{Compressed, TokenMap, Tokens};

/// The tokens listed in `dropped` `[batch, M]` as one: `sum of weight_i x_i`. Rows that drop none have no such token.
///
/// It stands for no token in particular: its representative is the first that it fuses.
pub(crate) fn fused(graph: &mut Graph, tokens: &Tokens, dropped: Tensor, weights: Tensor) -> Result<Compressed, Error> {
    let [batch, entries] = dropped.shape().exactly("fused: dropped", "[batch, M]")?;
    let all = as_one(graph, dropped)?;
    let x = merge_tokens(graph, tokens.x, all, Some(weights), Reduce::WeightedSum)?;
    let size = merge_tokens(graph, tokens.size, all, None, Reduce::Sum)?;
    let zeros = graph.filled([batch, entries], 0);
    let place = invert_index(graph, dropped, tokens.capacity())?;
    let parent = gather_rows(graph, zeros, place, None)?;
    let first = graph.constant(HostTensor::u32([1], vec![0]));
    let representative = gather_rows(graph, dropped, first, None)?;
    let first = graph.reshape(representative, [batch])?;
    let lengths = choose(graph, first, tokens.capacity(), [1, 0])?;
    Ok(Compressed { tokens: Tokens { x, size, lengths }, map: TokenMap { parent, representative, lengths } })
}
