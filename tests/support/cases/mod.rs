//! Every case of the grid: a file for each kernel in the rooms that `src/kernels` has, and the methods.

pub mod apply;
pub mod images;
pub mod layers;
pub mod methods;
pub mod score;
pub mod select;

use super::Case;

pub fn all() -> Vec<Case> {
    [score::cases(), select::cases(), apply::cases(), images::cases(), layers::cases(), methods::cases()].into_iter().flatten().collect()
}

/// The same with every case of f16 in bf16 too.
pub fn with_bf16() -> Vec<Case> {
    all().into_iter().flat_map(|case| [case.in_bf16(), Some(case)]).flatten().collect()
}
