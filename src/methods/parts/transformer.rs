//! The layers of a transformer: what reduction methods work between, and what query methods are made of.

use crate::error::Error;
use crate::graph::{Graph, Tensor};
use crate::kernels::{Activation, LayerNorm, add};
use crate::methods::parts::affine::Affine;
use crate::methods::parts::multi_head_attention::{KeyMask, MultiHeadAttention, Projected};

/// Two linear layers with an activation between them.
///
/// Cost: two dispatches, `2 N F (C + O)` operations.
///
/// ```
/// use tokenpress::kernels::Activation;
/// use tokenpress::methods::{Affine, FeedForward};
/// use tokenpress::{Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// let mut layer = |weight| Affine { weight: graph.constant(HostTensor::f32([1, 1], vec![weight])), bias: None };
/// let layers = FeedForward { up: layer(2.0), activation: Activation::Relu, down: layer(0.5) };
/// let x = graph.constant(HostTensor::f32([1, 2, 1], vec![-1.0, 3.0]));
/// let y = layers.apply(&mut graph, x)?;
/// graph.output("y", y)?;
/// assert_eq!(graph.run_reference(&[].into())?["y"].floats(), [0.0, 3.0]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[doc(alias("mlp", "ffn"))]
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

/// A block that normalises before each of its halves, as vision transformers and language models do.
///
/// The halves are apart: `x + attention(norm1(x))` and `x + feed_forward(norm2(x))`. Between them tokens are merged or pruned.
///
/// Keys that a [`KeyMask`] hides, by lengths or negative infinity, do not count; `f32::MIN` hides none. Dead rows go through all layers like
/// any other, and nothing comes of them.
///
/// Cost: eleven dispatches: two norms, the attention with its four linear layers, two feed-forward layers and two sums.
///
/// ```
/// use tokenpress::kernels::{Activation, LayerNorm};
/// use tokenpress::methods::{Affine, FeedForward, KeyMask, MultiHeadAttention, Projections, TransformerBlock};
/// use tokenpress::{Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// let mut layer = |weight: Vec<f32>| Affine { weight: graph.constant(HostTensor::f32([1, 1], weight)), bias: None };
/// let (zero, one) = (layer(vec![0.0]), layer(vec![1.0]));
/// let norm = Affine { weight: graph.constant(HostTensor::f32([1], vec![1.0])), bias: None };
/// let projections = Projections { queries: zero, keys: one, values: one, output: one };
/// let block = TransformerBlock {
///     norm: LayerNorm::root_mean_square(1e-30),
///     attention_norm: norm,
///     attention: MultiHeadAttention { heads: 1, projections },
///     feed_forward_norm: norm,
///     feed_forward: FeedForward { up: one, activation: Activation::None, down: one },
/// };
/// let x = graph.constant(HostTensor::f32([1, 2, 1], vec![1.0, 3.0]));
/// let projected = block.project(&mut graph, x)?;
/// let x = block.attend(&mut graph, x, projected, KeyMask::default())?;
/// let x = block.feed_forward(&mut graph, x)?;
/// graph.output("x'", x)?;
/// // The norm of a positive number is 1; each half adds it.
/// assert_eq!(graph.run_reference(&[].into())?["x'"].floats(), [3.0, 5.0]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[doc(alias("vit_block", "encoder_layer"))]
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
