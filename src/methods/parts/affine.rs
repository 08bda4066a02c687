//! Learned layers, as the methods that have them share them.

use crate::error::Error;
use crate::graph::{Graph, Tensor};
use crate::kernels::{Activation, LayerNorm, Linear, add, gather_rows};
use crate::tensor::Shape;

/// The weight of a layer, and its bias.
#[derive(Debug, Clone, Copy)]
pub struct Affine {
    /// `[O, K]` of a linear layer, `[O, K, 1, 1]` of one that is written as a convolution, `[C]` of a norm.
    pub weight: Tensor,
    /// `[O]` or `[C]`.
    pub bias: Option<Tensor>,
}

impl Affine {
    /// A linear layer.
    pub(crate) fn linear(&self, graph: &mut Graph, x: Tensor, activation: Activation) -> Result<Tensor, Error> {
        let weight = match *self.weight.shape().dims() {
            [outputs, channels, 1, 1] => graph.reshape(self.weight, [outputs, channels])?,
            _ => self.weight,
        };
        Linear { activation }.build(graph, x, weight, self.bias)
    }

    /// A norm over the channels.
    pub(crate) fn norm(&self, graph: &mut Graph, x: Tensor, norm: LayerNorm) -> Result<Tensor, Error> {
        norm.build(graph, x, Some(self.weight), self.bias)
    }

    /// The same of a sum.
    pub(crate) fn residual_norm(&self, graph: &mut Graph, x: Tensor, y: Tensor, norm: LayerNorm) -> Result<Tensor, Error> {
        let sum = add(graph, x, y)?;
        self.norm(graph, sum, norm)
    }
}

/// The layers of attention with H heads.
///
/// Where the first three are one weight, `[3 C, C]`, bind three views of its buffer: a view may begin anywhere.
#[derive(Debug, Clone, Copy)]
pub struct Projections {
    /// Of the queries, `[H D, C]`.
    pub queries: Affine,
    /// Of the keys, `[H D, E]`.
    pub keys: Affine,
    /// Of the values, `[H V, E]`.
    pub values: Affine,
    /// Of what all heads together give, `[O, H V]`.
    pub output: Affine,
}

/// Linear layers with an activation between them, and none after the last.
pub(crate) fn perceptron(graph: &mut Graph, mut x: Tensor, layers: &[Affine], activation: Activation) -> Result<Tensor, Error> {
    for (i, layer) in layers.iter().enumerate() {
        let last = i + 1 == layers.len();
        x = layer.linear(graph, x, if last { Activation::None } else { activation })?;
    }
    Ok(x)
}

/// The part of one head.
pub(crate) fn per_head(heads: u32, channels: u32) -> Result<u32, Error> {
    let wrong = || Error::Value { argument: "heads", expected: format!("at least 1, a divisor of {channels}"), actual: heads.to_string() };
    if channels.is_multiple_of(heads) { channels.checked_div(heads).ok_or_else(wrong) } else { Err(wrong()) }
}

/// Learned tokens `[N, C]`, or `[1, N, C]`, for each row of a batch.
pub(crate) fn repeat(graph: &mut Graph, argument: &'static str, tokens: Tensor, batch: u32) -> Result<Tensor, Error> {
    let shape = tokens.shape();
    let wrong = || Error::Shape { argument, expected: "[N, C] or [1, N, C], fewer than 2^32 numbers".to_owned(), actual: shape };
    let ([rows, channels] | [1, rows, channels]) = *shape.dims() else { return Err(wrong()) };
    let numbers = rows.checked_mul(channels).ok_or_else(wrong)?;
    let one = graph.reshape(tokens, [1, 1, numbers])?;
    let first = graph.filled([batch], 0);
    let all = gather_rows(graph, one, first, None)?;
    graph.reshape(all, Shape::from([batch, rows, channels]))
}
