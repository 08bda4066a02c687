//! Learned layers, as the methods that have them share them.

use crate::error::Error;
use crate::graph::{Graph, Tensor};
use crate::kernels::{Activation, LayerNorm, Linear, gather_rows};
use crate::tensor::{HostTensor, Shape};

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
    pub(super) fn linear(&self, graph: &mut Graph, x: Tensor, activation: Activation) -> Result<Tensor, Error> {
        let weight = match *self.weight.shape().dims() {
            [outputs, channels, 1, 1] => graph.reshape(self.weight, [outputs, channels])?,
            _ => self.weight,
        };
        Linear { activation }.apply(graph, x, weight, self.bias)
    }

    /// LayerNorm over the channels, with PyTorch's epsilon.
    pub(super) fn layer_norm(&self, graph: &mut Graph, x: Tensor) -> Result<Tensor, Error> {
        LayerNorm::default().apply(graph, x, Some(self.weight), self.bias)
    }
}

/// Learned tokens `[N, C]`, or `[1, N, C]`, for each row of a batch.
pub(super) fn repeat(graph: &mut Graph, argument: &'static str, tokens: Tensor, batch: u32) -> Result<Tensor, Error> {
    let shape = tokens.shape();
    let wrong = || Error::Shape { argument, expected: "[N, C] or [1, N, C], fewer than 2^32 numbers".to_owned(), actual: shape };
    let ([rows, channels] | [1, rows, channels]) = *shape.dims() else { return Err(wrong()) };
    let numbers = rows.checked_mul(channels).ok_or_else(wrong)?;
    let one = graph.reshape(tokens, [1, 1, numbers])?;
    let first = graph.constant(HostTensor::u32([batch], vec![0; batch as usize]));
    let all = gather_rows(graph, one, first, None)?;
    graph.reshape(all, Shape::from([batch, rows, channels]))
}
