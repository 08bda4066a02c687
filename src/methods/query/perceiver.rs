//! The Perceiver resampler of Flamingo: a fixed number of learned tokens looks at all tokens of an image.
//!
//! Alayrac et al., "Flamingo: a Visual Language Model for Few-Shot Learning" (NeurIPS 2022), `https://arxiv.org/abs/2204.14198`.

use crate::error::Error;
use crate::graph::{Graph, Tensor};
use crate::kernels::{LayerNorm, add, concat_rows};
use crate::methods::parts::affine::{Affine, repeat};
use crate::methods::parts::multi_head_attention::{KeyMask, MultiHeadAttention};
use crate::methods::parts::transformer::FeedForward;
use crate::token_map::Tokens;

/// One layer of a [`PerceiverResampler`], where there is an example.
///
/// ```text
/// latents += attention(norm(latents), [norm'(x), norm(latents)])
/// latents += feed_forward(norm''(latents))
/// ```
#[derive(Debug, Clone, Copy)]
pub struct PerceiverLayer {
    /// Of the image's tokens.
    pub token_norm: Affine,
    /// Of the latents.
    pub latent_norm: Affine,
    /// Queries of the latents, keys and values of both.
    pub attention: MultiHeadAttention,
    /// Before the feed-forward layers.
    pub feed_forward_norm: Affine,
    /// Behind them.
    pub feed_forward: FeedForward,
}

/// The layers and the last norm.
///
/// Cost: `2 L (N + L) (D + V)` operations a head and layer for L latents, besides the projections.
///
/// ```
/// use tokenpress::kernels::Activation;
/// use tokenpress::methods::{Affine, FeedForward, MultiHeadAttention, Projections, PerceiverLayer, PerceiverResampler};
/// use tokenpress::{Elem, Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// let mut weight = |shape: [u32; 2]| graph.constant(HostTensor::f32(shape, vec![0.5; shape.iter().product::<u32>() as usize]));
/// let (square, queries) = (Affine { weight: weight([4, 4]), bias: None }, weight([3, 4]));
/// let norm = Affine { weight: graph.constant(HostTensor::f32([4], vec![1.0; 4])), bias: None };
/// let projections = Projections { queries: square, keys: square, values: square, output: square };
/// let attention = MultiHeadAttention { heads: 2, projections };
/// let feed_forward = FeedForward { up: square, activation: Activation::Gelu, down: square };
/// let layer = PerceiverLayer { token_norm: norm, latent_norm: norm, attention, feed_forward_norm: norm, feed_forward };
/// let tokens = graph.tokens("image", [2, 9, 4], Elem::F32)?;
/// let three = PerceiverResampler { layers: vec![layer], norm }.build(&mut graph, queries, &tokens)?;
/// assert_eq!(three.shape(), [2, 3, 4].into());
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[doc(alias("flamingo", "cross_attention"))]
#[derive(Debug, Clone)]
pub struct PerceiverResampler {
    /// In order; six in the paper.
    pub layers: Vec<PerceiverLayer>,
    /// Behind the last layer.
    pub norm: Affine,
}

impl PerceiverResampler {
    /// The latents, `[L, C]`, after they have looked at the live tokens: `[B, L, C]`. A row without tokens leaves them to themselves.
    pub fn build(&self, graph: &mut Graph, latents: Tensor, tokens: &Tokens) -> Result<Tensor, Error> {
        tokens.checked()?;
        let norm = LayerNorm::default();
        let mut latents = repeat(graph, "perceiver: latents", latents, tokens.batch())?;
        for layer in &self.layers {
            let rows = layer.token_norm.norm(graph, tokens.x, norm)?;
            let own = layer.latent_norm.norm(graph, latents, norm)?;
            let (context, live) = concat_rows(graph, (rows, Some(tokens.lengths)), (own, None))?;
            let projected = layer.attention.project(graph, [own, context, context])?;
            let attended = layer.attention.attend(graph, projected, KeyMask { lengths: Some(live), ..KeyMask::default() })?;
            latents = add(graph, latents, attended)?;
            let normal = layer.feed_forward_norm.norm(graph, latents, norm)?;
            let change = layer.feed_forward.apply(graph, normal)?;
            latents = add(graph, latents, change)?;
        }
        self.norm.norm(graph, latents, norm)
    }
}
