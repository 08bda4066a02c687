//! A layer of a Q-Former.

use crate::error::Error;
use crate::graph::{Graph, Tensor};
use crate::kernels::LayerNorm;
use crate::methods::parts::affine::Affine;
use crate::methods::parts::multi_head_attention::{KeyMask, MultiHeadAttention};
use crate::methods::parts::transformer::FeedForward;

/// One layer of BERT with cross-attention: each part stands after its residual with a norm, `x = norm(x + part(x))`. It is a
/// layer of [`QFormer`](crate::methods::QFormer), where there is an example, and its cost.
#[derive(Debug, Clone, Copy)]
pub struct QFormerLayer {
    /// Attention of queries and text among themselves.
    pub attention: (MultiHeadAttention, Affine),
    /// Attention of the queries to the image; in every second layer of the paper.
    pub cross_attention: Option<(MultiHeadAttention, Affine)>,
    /// Feed-forward layers of the queries.
    pub query_feed_forward: (FeedForward, Affine),
    /// Feed-forward layers of the text, where there is one.
    pub text_feed_forward: Option<(FeedForward, Affine)>,
}

/// `norm(x + attention(x to y))`.
pub(crate) fn attended(
    graph: &mut Graph,
    (attention, affine): &(MultiHeadAttention, Affine),
    norm: LayerNorm,
    [x, y]: [Tensor; 2],
    mask: KeyMask,
) -> Result<Tensor, Error> {
    let projected = attention.project(graph, [x, y, y])?;
    let change = attention.attend(graph, projected, mask)?;
    affine.residual_norm(graph, x, change, norm)
}

/// `norm(x + feed_forward(x))`.
pub(crate) fn fed_forward(
    graph: &mut Graph,
    (feed_forward, affine): &(FeedForward, Affine),
    norm: LayerNorm,
    x: Tensor,
) -> Result<Tensor, Error> {
    let change = feed_forward.apply(graph, x)?;
    affine.residual_norm(graph, x, change, norm)
}
