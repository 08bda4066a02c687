//! Norms, means and ranks at the ends of what f32 holds.

use super::Known;

pub fn all() -> Vec<Known> {
    Vec::new()
}
