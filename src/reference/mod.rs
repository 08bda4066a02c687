//! The CPU twins: plain functions over slices, written to be read. Sums are in f64.

mod concat_rows;
mod gather_rows;
mod invert_index;
mod lookup;
mod pixel_unshuffle;

pub use concat_rows::concat_rows;
pub use gather_rows::gather_rows;
pub use invert_index::invert_index;
pub use lookup::lookup;
pub use pixel_unshuffle::{BlockLayout, pixel_shuffle, pixel_unshuffle};
