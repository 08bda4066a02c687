//! Learned layers, as the methods that have them share them.

use crate::error::Error;
use crate::graph::{Graph, Tensor};
use crate::kernels::{Activation, Attention, Heads, LayerNorm, Linear, QueryKeyValue, add, gather_rows};
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

    /// [`Affine::layer_norm`] of a sum.
    pub(super) fn residual_norm(&self, graph: &mut Graph, x: Tensor, y: Tensor) -> Result<Tensor, Error> {
        let sum = add(graph, x, y)?;
        self.layer_norm(graph, sum)
    }
}

/// The layers of attention.
#[derive(Debug, Clone, Copy)]
pub struct Projections {
    /// Of the queries.
    pub queries: Affine,
    /// Of the keys.
    pub keys: Affine,
    /// Of the values.
    pub values: Affine,
    /// Of what all heads together give.
    pub output: Affine,
}

impl Projections {
    /// Softmax attention of so many heads over what queries, keys and values are made from.
    pub(super) fn attend(&self, graph: &mut Graph, heads: u32, [queries, keys, values]: [Tensor; 3]) -> Result<Tensor, Error> {
        let mut split = |layer: &Affine, x| {
            let y = layer.linear(graph, x, Activation::None)?;
            let [batch, tokens, channels] = y.shape().exactly("attention: rows", "[B, N, C]")?;
            graph.reshape(y, [batch, tokens, heads, per_head(heads, channels)?])
        };
        let queries = split(&self.queries, queries)?;
        let (keys, values) = (split(&self.keys, keys)?, split(&self.values, values)?);
        let inputs = QueryKeyValue { queries, keys, values, bias: None, lengths: None, query_lengths: None };
        let rows = Attention { heads: Heads::Last, ..Default::default() }.attend(graph, inputs)?.rows;
        let [batch, tokens, heads, channels] = rows.shape().exactly("attention: rows", "[B, M, H, V]")?;
        let rows = graph.reshape(rows, [batch, tokens, heads * channels])?;
        self.output.linear(graph, rows, Activation::None)
    }
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
