//! Every case of the grid, one file for each kernel or method.

mod copy;

use super::Case;

pub fn all() -> Vec<Case> {
    [copy::cases()].into_iter().flatten().collect()
}
