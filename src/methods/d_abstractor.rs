//! Honeybee's D-Abstractor: learned queries that read the image by deformable attention.
//!
//! Cha et al., "Honeybee: Locality-enhanced Projector for Multimodal LLM" (CVPR 2024), `https://arxiv.org/abs/2312.06742`.

use super::affine::{Affine, Projections, per_head, repeat};
use super::transformer::{KeyMask, MultiHeadAttention};
use crate::error::Error;
use crate::graph::{Graph, Tensor};
use crate::kernels::{Activation, DeformableInputs, DeformableSample, LayerNorm, Points, Pool, Windows, add, concat_rows};

/// A decoder layer of Deformable DETR; each norm is behind its sum.
///
/// ```text
/// q = norm(q + attention(q + p, q + p, q))          over the Q queries; p are their positions
/// q = norm(q + output(sum over points of weight * values(image) at reference + offset))
///                                   weight = softmax over the points of weights(q + p), offset = offsets(q + p)
/// q = norm(q + second(relu(first(q))))
/// ```
///
/// `DeformableDetrDecoderLayer` of transformers. Zhu et al., `https://arxiv.org/abs/2010.04159`.
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

/// What the queries begin as: their contents and their positions, learned `[Q, C]` or pooled from the image.
#[derive(Debug, Clone, Copy)]
pub enum InitialQueries {
    /// Neither is pooled. Published weights have both as one embedding, positions first.
    Learned {
        /// Learned contents.
        contents: Tensor,
        /// Learned positions.
        positions: Tensor,
    },
    /// Positions are the image's average over so many rows and columns of windows: `pooled_v_target: query`.
    PooledPositions {
        /// Learned contents.
        contents: Tensor,
        /// Rows and columns, Q together.
        outputs: [u32; 2],
    },
    /// Contents are the image's average over so many rows and columns of windows: `pooled_v_target: tgt`.
    PooledContents {
        /// Learned positions.
        positions: Tensor,
        /// Rows and columns, Q together.
        outputs: [u32; 2],
    },
}

/// The D-Abstractor: Q queries, each with a learned reference point, become the tokens of the image.
///
/// ```
/// use tokenpress::methods::{DAbstractor, InitialQueries};
/// use tokenpress::{Elem, Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// let x = graph.input("x", [1, 4, 1], Elem::F32);
/// let positions = graph.constant(HostTensor::f32([1, 1], vec![0.0]));
/// let reference = graph.constant(HostTensor::f32([1, 2], vec![0.5; 2]));
/// let queries = InitialQueries::PooledContents { positions, outputs: [1, 1] };
/// let y = DAbstractor::new([2, 2], queries, reference).build(&mut graph, x)?.y;
/// graph.output("y", y)?;
/// let x = HostTensor::f32([1, 4, 1], vec![1.0, 2.0, 3.0, 6.0]);
/// assert_eq!(graph.run_reference(&[("x".to_owned(), x)].into())?["y"].floats(), [3.0]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct DAbstractor {
    /// Rows and columns of the tokens that come in, without a class token.
    pub grid: [u32; 2],
    /// To the width C of the layers, where the tokens have another.
    pub input: Option<Affine>,
    /// Added to the tokens, `[1, h * w, C]`.
    pub positions: Option<Tensor>,
    /// What the layers begin with.
    pub queries: InitialQueries,
    /// Locations of the queries, f32 `[Q, 2]` or `[1, Q, 2]`: (x, y) as parts of width and height. Learned; at first a uniform grid.
    pub reference: Tensor,
    /// Heads of both kinds of attention.
    pub heads: u32,
    /// Six in the paper.
    pub layers: Vec<DeformableLayer>,
    /// Tokens that are put behind each image, `[1, E, C]`.
    pub end: Option<Tensor>,
    /// To the width of the language model, where that is another.
    pub output: Option<Affine>,
}

/// What a [`DAbstractor`] gives.
#[derive(Debug, Clone)]
pub struct DAbstractorOutput {
    /// The queries after each layer, `[B, Q, C]`.
    pub layers: Vec<Tensor>,
    /// For the language model, `[B, Q + E, width]`.
    pub y: Tensor,
}

impl DeformableLayer {
    /// The queries `[B, Q, C]` after this layer.
    fn build(&self, graph: &mut Graph, all: &DAbstractor, queries: Tensor, positions: Tensor, image: Tensor) -> Result<Tensor, Error> {
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
        let sampled = DeformableSample { levels: vec![all.grid], softmax: true }.sample(graph, inputs)?;
        let sampled = self.output.linear(graph, sampled, Activation::None)?;
        let queries = self.sample_norm.residual_norm(graph, queries, sampled, LayerNorm::default())?;

        let hidden = self.feed_forward[0].linear(graph, queries, Activation::Relu)?;
        let hidden = self.feed_forward[1].linear(graph, hidden, Activation::None)?;
        self.feed_forward_norm.residual_norm(graph, queries, hidden, LayerNorm::default())
    }
}

impl DAbstractor {
    /// Without any layer yet, of 8 heads.
    pub fn new(grid: [u32; 2], queries: InitialQueries, reference: Tensor) -> Self {
        Self { grid, input: None, positions: None, queries, reference, heads: 8, layers: Vec::new(), end: None, output: None }
    }

    /// Adds the calls: x is `[B, h * w, C]`.
    pub fn build(&self, graph: &mut Graph, x: Tensor) -> Result<DAbstractorOutput, Error> {
        let mut image = x;
        if let Some(input) = &self.input {
            image = input.linear(graph, image, Activation::None)?;
        }
        if let Some(positions) = self.positions {
            image = add(graph, image, positions)?;
        }
        let batch = image.shape().dims()[0];
        let pooled = |graph: &mut Graph, outputs| Pool::Average(Windows::Adaptive { outputs }).build(graph, image, self.grid, None);
        let (contents, positions) = match self.queries {
            InitialQueries::Learned { contents, positions } => (repeat(graph, "d_abstractor: contents", contents, batch)?, positions),
            InitialQueries::PooledPositions { contents, outputs } => {
                (repeat(graph, "d_abstractor: contents", contents, batch)?, pooled(graph, outputs)?)
            }
            InitialQueries::PooledContents { positions, outputs } => (pooled(graph, outputs)?, positions),
        };
        let (mut y, mut layers) = (contents, Vec::new());
        for layer in &self.layers {
            y = layer.build(graph, self, y, positions, image)?;
            layers.push(y);
        }
        if let Some(end) = self.end {
            let end = repeat(graph, "d_abstractor: end", end, batch)?;
            (y, _) = concat_rows(graph, (y, None), (end, None))?;
        }
        if let Some(output) = &self.output {
            y = output.linear(graph, y, Activation::None)?;
        }
        Ok(DAbstractorOutput { layers, y })
    }
}
