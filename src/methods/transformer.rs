//! The layers of a transformer: what reduction methods work between, and what query methods are made of.

use super::affine::{Affine, Projections, per_head};
use crate::error::Error;
use crate::graph::{Graph, Tensor};
use crate::kernels::{Activation, Attention, Heads, LayerNorm, QueryKeyValue, add, gather_rows};
use crate::tensor::HostTensor;

/// Attention with its four projections.
#[derive(Debug, Clone, Copy)]
pub struct MultiHeadAttention {
    /// Number of heads, H.
    pub heads: u32,
    /// Its layers.
    pub projections: Projections,
}

/// Queries, keys and values, `[B, M, H D]` and `[B, N, H D]`.
#[derive(Debug, Clone, Copy)]
pub struct Projected {
    /// Of the tokens that ask.
    pub queries: Tensor,
    /// Of the tokens that answer.
    pub keys: Tensor,
    /// Of the same.
    pub values: Tensor,
}

/// Which keys count, and how much.
#[derive(Debug, Clone, Copy, Default)]
pub struct KeyMask {
    /// f32 `[B, N]`, added to the scaled logits: the [`log_size`](crate::kernels::log_size) of merged tokens, or a mask of negative
    /// infinities.
    pub bias: Option<Tensor>,
    /// u32 `[B]`: live keys; all for `None`.
    pub lengths: Option<Tensor>,
    /// u32 `[B]`: live queries. For `None` as many as keys where there are as many, and all otherwise.
    pub query_lengths: Option<Tensor>,
}

impl MultiHeadAttention {
    /// Queries of `[B, M, C]`, keys and values of `[B, N, E]`.
    pub fn project(&self, graph: &mut Graph, [queries, keys, values]: [Tensor; 3]) -> Result<Projected, Error> {
        let Projections { queries: query, keys: key, values: value, .. } = &self.projections;
        let queries = query.linear(graph, queries, Activation::None)?;
        let keys = key.linear(graph, keys, Activation::None)?;
        let values = value.linear(graph, values, Activation::None)?;
        Ok(Projected { queries, keys, values })
    }

    /// What every query takes from the values, through the last projection: `[B, M, O]`. Dead queries give its bias.
    pub fn attend(&self, graph: &mut Graph, projected: Projected, mask: KeyMask) -> Result<Tensor, Error> {
        let KeyMask { bias, lengths, query_lengths } = mask;
        let [queries, keys, values] = [projected.queries, projected.keys, projected.values].map(|rows| self.with_heads(graph, rows));
        let bias = match bias {
            Some(bias) => {
                let [batch, keys] = bias.shape().exactly("transformer: bias", "[B, N]")?;
                Some(graph.reshape(bias, [batch, 1, 1, keys])?)
            }
            None => None,
        };
        let inputs = QueryKeyValue { queries: queries?, keys: keys?, values: values?, bias, lengths, query_lengths };
        let attended = Attention { heads: Heads::Last, ..Attention::default() }.attend(graph, inputs)?.rows;
        let [batch, rows, heads, channels] = attended.shape().exactly("transformer: rows", "[B, M, H, D]")?;
        let attended = graph.reshape(attended, [batch, rows, heads * channels])?;
        self.projections.output.linear(graph, attended, Activation::None)
    }

    /// Projected rows `[B, N, H D]` as `[B, H, N, D]`, which scores are made from. A copy.
    pub fn heads_first(&self, graph: &mut Graph, rows: Tensor) -> Result<Tensor, Error> {
        let split = self.with_heads(graph, rows)?;
        let [batch, tokens, heads, channels] = split.shape().exactly("transformer: rows", "[B, N, H, D]")?;
        let all = graph.reshape(split, [batch, tokens * heads, channels])?;
        let order = (0..heads).flat_map(|h| (0..tokens).map(move |n| n * heads + h)).collect();
        let order = graph.constant(HostTensor::u32([heads * tokens], order));
        let first = gather_rows(graph, all, order, None)?;
        graph.reshape(first, [batch, heads, tokens, channels])
    }

    fn with_heads(&self, graph: &Graph, rows: Tensor) -> Result<Tensor, Error> {
        let [batch, tokens, channels] = rows.shape().exactly("transformer: rows", "[B, N, H D]")?;
        graph.reshape(rows, [batch, tokens, self.heads, per_head(self.heads, channels)?])
    }
}

/// Two linear layers with an activation between them.
#[derive(Debug, Clone, Copy)]
pub struct FeedForward {
    /// `[F, C]`.
    pub up: Affine,
    /// Behind it.
    pub activation: Activation,
    /// `[O, F]`.
    pub down: Affine,
}

impl FeedForward {
    /// `down(activation(up(x)))`.
    pub fn apply(&self, graph: &mut Graph, x: Tensor) -> Result<Tensor, Error> {
        let wide = self.up.linear(graph, x, self.activation)?;
        self.down.linear(graph, wide, Activation::None)
    }
}

/// A block that normalises before each of its halves, as vision transformers and language models do, in its two halves:
/// `x + attention(norm1(x))`, behind which tokens are merged or pruned, and `x + feed_forward(norm2(x))`.
///
/// Keys behind the lengths of a [`KeyMask`] do not count. Dead rows go through all layers like any other, and nothing comes of them.
#[derive(Debug, Clone, Copy)]
pub struct TransformerBlock {
    /// The kind of both norms: LayerNorm or RMSNorm, and its epsilon.
    pub norm: LayerNorm,
    /// Before the attention.
    pub attention_norm: Affine,
    /// Its attention.
    pub attention: MultiHeadAttention,
    /// Before the feed-forward layers.
    pub feed_forward_norm: Affine,
    /// Its feed-forward layers.
    pub feed_forward: FeedForward,
}

impl TransformerBlock {
    /// `norm1(x)`.
    pub fn normalize(&self, graph: &mut Graph, x: Tensor) -> Result<Tensor, Error> {
        self.attention_norm.norm(graph, x, self.norm)
    }

    /// Queries, keys and values of `norm1(x)`.
    pub fn project(&self, graph: &mut Graph, x: Tensor) -> Result<Projected, Error> {
        let normal = self.normalize(graph, x)?;
        self.attention.project(graph, [normal; 3])
    }

    /// The first half, of rows whose projections are known: `x + attention`.
    pub fn attend(&self, graph: &mut Graph, x: Tensor, projected: Projected, mask: KeyMask) -> Result<Tensor, Error> {
        let attended = self.attention.attend(graph, projected, mask)?;
        add(graph, x, attended)
    }

    /// The second half: `x + feed_forward(norm2(x))`.
    pub fn feed_forward(&self, graph: &mut Graph, x: Tensor) -> Result<Tensor, Error> {
        let normal = self.feed_forward_norm.norm(graph, x, self.norm)?;
        let change = self.feed_forward.apply(graph, normal)?;
        add(graph, x, change)
    }
}

/// Tokens `from..to` of every row of `[B, N, C]`.
pub(super) fn tokens(graph: &mut Graph, x: Tensor, from: u32, to: u32) -> Result<Tensor, Error> {
    let index = graph.constant(HostTensor::u32([to - from], (from..to).collect()));
    gather_rows(graph, x, index, None)
}
