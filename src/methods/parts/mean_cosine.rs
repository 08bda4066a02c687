//! How alike the tokens of a group are.

use crate::error::Error;
use crate::graph::{Graph, Tensor};
use crate::kernels::{Elementwise, Operation, Statistic, gather_rows, multiply, reduce};
use crate::methods::parts::lists::product;
use crate::tensor::HostTensor;

/// The mean over i != j of the cosine of members i and j, f32 `[groups]`. Exactly 1 for equal rows.
///
/// `unit` are groups of unit rows `[groups, members, channels]`. `alive`, u32 `[groups, members]`, is 1 for each row that is not zero.
pub(crate) fn mean_cosine(graph: &mut Graph, unit: Tensor, alive: Tensor) -> Result<Tensor, Error> {
    let [groups, members, channels] = unit.shape().exactly("mean_cosine: unit", "[groups, members, channels]")?;
    let less = |graph: &mut Graph, a: Tensor, scale: f32, b: Tensor| {
        Elementwise { operation: Operation::Add, scale: -scale, ..Default::default() }.build(graph, a, b)
    };
    // cos = 1 - |u_i - u_j|^2 / 2. With d the rows less the first one, the sum of |u_i - u_j|^2 follows from the sum of squares of d and
    // the square of its sum.
    let list = graph.constant(HostTensor::u32([1], vec![0]));
    let first = gather_rows(graph, unit, list, None)?;
    let apart = less(graph, unit, 1.0, first)?;
    let sum = reduce(graph, apart, 1, Statistic::Sum, None)?;
    let sum = multiply(graph, sum, sum)?;
    let all = reduce(graph, sum, 1, Statistic::Sum, None)?;
    let wide = product("mean_cosine: unit", unit.shape(), members, channels)?;
    let rows = graph.reshape(apart, [groups, wide])?;
    let squares = multiply(graph, rows, rows)?;
    let squares = reduce(graph, squares, 1, Statistic::Sum, None)?;
    let apart = less(graph, squares, 1.0 / members as f32, all)?;
    // A zero row has cosine 0 to all: 1 / members is missing for each.
    let count = reduce(graph, alive, 1, Statistic::Sum, None)?;
    let count = graph.reshape(count, [1, groups])?;
    let most = if groups == 0 { 0 } else { members };
    let shares = (0..=most).map(|n| n as f32 / members as f32).collect();
    let shares = graph.constant(HostTensor::f32([1, most + 1, 1], shares));
    let share = gather_rows(graph, shares, count, None)?;
    let share = graph.reshape(share, [groups])?;
    less(graph, share, 1.0 / (members - 1) as f32, apart)
}
