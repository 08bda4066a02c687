//! The layers of Honeybee's D-Abstractor.

use crate::error::Error;
use crate::graph::{Graph, Tensor};
use crate::kernels::{Activation, DeformableInputs, DeformableSample, LayerNorm, Points, add};
use crate::methods::DAbstractor;
use crate::methods::parts::affine::{Affine, Projections, per_head};
use crate::methods::parts::multi_head_attention::{KeyMask, MultiHeadAttention};

/// A decoder layer of Deformable DETR; each norm is after its sum.
///
/// ```text
/// q = norm(q + attention(q + p, q + p, q))          over the Q queries; p are their positions
/// q = norm(q + output(sum over points of weight * values(image) at reference + offset))
///                                   weight = softmax over the points of weights(q + p), offset = offsets(q + p)
/// q = norm(q + second(relu(first(q))))
/// ```
///
/// `DeformableDetrDecoderLayer` of transformers. Zhu et al., `https://arxiv.org/abs/2010.04159`. It is a layer of
/// [`DAbstractor`](crate::methods::DAbstractor).
///
/// Cost: `4 Q^2 C` operations for the queries' attention, one linear layer of the image's tokens (`2 N C^2` operations), nine of
/// the queries and P samples a head and query ([`DeformableSample`]). Nothing is of size `Q x N`.
#[doc(alias("deformable_attention", "detr"))]
#[derive(Debug, Clone, Copy)]
pub struct DeformableLayer {
    /// Attention among the queries, `[C, C]` each.
    pub attention: Projections,
    /// `[C]`.
    pub attention_norm: Affine,
    /// `[H P 2, C]`: (x, y) in tokens for each head and point.
    pub offsets: Affine,
    /// `[H P, C]`.
    pub weights: Affine,
    /// `[C, C]`.
    pub values: Affine,
    /// `[C, C]`.
    pub output: Affine,
    /// `[C]`.
    pub sample_norm: Affine,
    /// `[F, C]`, then `[C, F]`.
    pub feed_forward: [Affine; 2],
    /// `[C]`.
    pub feed_forward_norm: Affine,
}

impl DeformableLayer {
    /// The queries `[B, Q, C]` after this layer.
    pub(crate) fn build(
        &self,
        graph: &mut Graph,
        all: &DAbstractor,
        queries: Tensor,
        positions: Tensor,
        image: Tensor,
    ) -> Result<Tensor, Error> {
        let placed = add(graph, queries, positions)?;
        let attention = MultiHeadAttention { heads: all.heads, projections: self.attention };
        let projected = attention.project(graph, [placed, placed, queries])?;
        let attended = attention.attend(graph, projected, KeyMask::default())?;
        let queries = self.attention_norm.residual_norm(graph, queries, attended, LayerNorm::default())?;

        let placed = add(graph, queries, positions)?;
        let [batch, count, _] = placed.shape().exactly("d_abstractor: queries", "[B, Q, C]")?;
        let value = self.values.linear(graph, image, Activation::None)?;
        let offsets = self.offsets.linear(graph, placed, Activation::None)?;
        let weights = self.weights.linear(graph, placed, Activation::None)?;
        let [_, tokens, channels] = value.shape().exactly("d_abstractor: x", "[B, h * w, C]")?;
        let [_, _, logits] = weights.shape().exactly("d_abstractor: weights", "[B, Q, H P]")?;
        let heads = all.heads;
        let (points, channels) = (per_head(heads, logits)?, per_head(heads, channels)?);
        let offsets = graph.reshape(offsets, [batch, count, heads, points, 2])?;
        let reference = graph.reshape(all.reference, [count, 2])?;
        let inputs = DeformableInputs {
            value: graph.reshape(value, [batch, tokens, heads, channels])?,
            points: Points::Offsets { offsets, reference },
            weights: graph.reshape(weights, [batch, count, heads, points])?,
        };
        let sampled = DeformableSample { levels: vec![all.grid], softmax: true }.build(graph, inputs)?;
        let sampled = self.output.linear(graph, sampled, Activation::None)?;
        let queries = self.sample_norm.residual_norm(graph, queries, sampled, LayerNorm::default())?;

        let hidden = self.feed_forward[0].linear(graph, queries, Activation::Relu)?;
        let hidden = self.feed_forward[1].linear(graph, hidden, Activation::None)?;
        self.feed_forward_norm.residual_norm(graph, queries, hidden, LayerNorm::default())
    }
}
