//! How alike the tokens of a group are.

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
    let rows = graph.reshape(unit, [groups, members * channels])?;
    let squares = multiply(graph, rows, rows)?;
    let squares = reduce(graph, squares, 1, Statistic::Sum, None)?;
    let pairs = Elementwise { operation: Operation::Add, scale: -1.0, ..Default::default() }.apply(graph, all, squares)?;
    scale(graph, pairs, 1.0 / (members * (members - 1)) as f32)
}
