//! Learned layers, as the methods that have them share them.

use crate::error::Error;
use crate::graph::{Graph, Tensor};
use crate::kernels::{Activation, LayerNorm, Linear, add, gather_rows};
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

    /// A norm over the channels.
    pub(super) fn norm(&self, graph: &mut Graph, x: Tensor, norm: LayerNorm) -> Result<Tensor, Error> {
        norm.apply(graph, x, Some(self.weight), self.bias)
    }

    /// The same of a sum.
    pub(super) fn residual_norm(&self, graph: &mut Graph, x: Tensor, y: Tensor, norm: LayerNorm) -> Result<Tensor, Error> {
        let sum = add(graph, x, y)?;
        self.norm(graph, sum, norm)
    }
}

/// The layers of attention with H heads. A weight of the first three at once, `[3 C, C]`, is three of its parts: a view of a buffer
/// may begin anywhere.
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

/// The part of one head.
pub(super) fn per_head(heads: u32, channels: u32) -> Result<u32, Error> {
    let wrong = || Error::Value { argument: "heads", expected: format!("at least 1, a divisor of {channels}"), actual: heads.to_string() };
    if channels.is_multiple_of(heads) { channels.checked_div(heads).ok_or_else(wrong) } else { Err(wrong()) }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::Elem;

    #[test]
    fn heads_divide_channels() {
        assert_eq!(per_head(3, 12), Ok(4));
        for heads in [0, 5, 24] {
            assert!(matches!(per_head(heads, 12), Err(Error::Value { argument: "heads", .. })), "{heads}");
        }
    }

    #[test]
    fn learned_tokens_are_repeated() {
        let mut graph = Graph::new();
        let tokens = graph.constant(HostTensor::f32([1, 2, 2], vec![1.0, 2.0, 3.0, 4.0]));
        let all = repeat(&mut graph, "tokens", tokens, 2).and_then(|all| graph.output("all", all));
        assert_eq!(all, Ok(()));
        let out = graph.run_reference(&[].into()).map(|out| out["all"].clone());
        assert_eq!(out, Ok(HostTensor::f32([2, 2, 2], vec![1.0, 2.0, 3.0, 4.0, 1.0, 2.0, 3.0, 4.0])));
        let batch = graph.input("batch", [2, 2, 2], Elem::F32);
        assert!(matches!(repeat(&mut graph, "tokens", batch, 2), Err(Error::Shape { argument: "tokens", .. })));
    }
}
