//! The CPU twins: plain functions over slices, written to be read. Sums are in f64.

pub mod apply;
pub mod images;
pub mod layers;
pub mod score;
pub mod select;

pub use apply::*;
pub use images::*;
pub use layers::*;
pub use score::*;
pub use select::*;
