//! The CPU twins: plain functions over slices, written to be read. Sums are in f64.

pub mod apply;
pub mod layers;
pub mod score;
pub mod select;

pub use apply::*;
pub use layers::*;
pub use score::*;
pub use select::*;
