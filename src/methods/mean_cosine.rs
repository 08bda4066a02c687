//! How alike the tokens of a group are.

use super::lists::product;
use crate::error::Error;
use crate::graph::{Graph, Tensor};
use crate::kernels::{Elementwise, Operation, Statistic, multiply, reduce, scale};

/// The mean over i != j of `unit_i . unit_j`, for groups of unit rows `[groups, members, channels]`: f32 `[groups]`.
pub(super) fn mean_cosine(graph: &mut Graph, unit: Tensor) -> Result<Tensor, Error> {
    let [groups, members, channels] = unit.shape().exactly("mean_cosine: unit", "[groups, members, channels]")?;
    // The sum over pairs is the square of the sum, less the squares.
    let sum = reduce(graph, unit, 1, Statistic::Sum, None)?;
    let sum = multiply(graph, sum, sum)?;
    let all = reduce(graph, sum, 1, Statistic::Sum, None)?;
    let wide = product("mean_cosine: unit", unit.shape(), members, channels)?;
    let rows = graph.reshape(unit, [groups, wide])?;
    let squares = multiply(graph, rows, rows)?;
    let squares = reduce(graph, squares, 1, Statistic::Sum, None)?;
    let pairs = Elementwise { operation: Operation::Add, scale: -1.0, ..Default::default() }.apply(graph, all, squares)?;
    let pairs_of = f64::from(members) * (f64::from(members) - 1.0);
    scale(graph, pairs, (1.0 / pairs_of) as f32)
}
