//! Small sums of f32 tensors.

use crate::error::Error;
use crate::graph::{Graph, Tensor};
use crate::kernels::{Reduce, add, concat_rows, merge_tokens, multiply, scale};
use crate::methods::parts::lists::as_one;

/// `a - b`.
pub(crate) fn difference(graph: &mut Graph, a: Tensor, b: Tensor) -> Result<Tensor, Error> {
    let b = scale(graph, b, -1.0)?;
    add(graph, a, b)
}

/// `1 - x`.
pub(crate) fn complement(graph: &mut Graph, x: Tensor) -> Result<Tensor, Error> {
    let one = graph.filled_f32(x.shape(), 1.0);
    difference(graph, one, x)
}

/// The first where `choice` is 0, the second where it is 1.
pub(crate) fn blend(graph: &mut Graph, first: Tensor, second: Tensor, choice: Tensor) -> Result<Tensor, Error> {
    let other = complement(graph, choice)?;
    let (first, second) = (multiply(graph, first, other)?, multiply(graph, second, choice)?);
    add(graph, first, second)
}

/// `a / b`, f32 `[batch, 1]`; 0 where b is 0. It is the mean of a and 0 with weights 1 and b - 1.
pub(crate) fn quotient(graph: &mut Graph, a: Tensor, b: Tensor) -> Result<Tensor, Error> {
    let shape = a.shape();
    let [batch, _] = shape.exactly("quotient", "[batch, 1]")?;
    let [zero, one] = [0.0, 1.0].map(|number| graph.filled_f32(shape, number));
    let rest = difference(graph, b, one)?;
    let (x, _) = concat_rows(graph, (a, None), (zero, None))?;
    let (weights, _) = concat_rows(graph, (one, None), (rest, None))?;
    let both = graph.counted([batch, 2], 0, 1);
    let both = as_one(graph, both)?;
    merge_tokens(graph, x, both, Some(weights), Reduce::WeightedMean)
}
