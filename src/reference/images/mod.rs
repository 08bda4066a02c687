//! The CPU twins of [`kernels::images`](crate::kernels::images).

mod heat_map;
mod patches;
mod pixel_unshuffle;

pub use heat_map::{Heat, heat_map, heat_map_bound};
pub use patches::{Cut, Sampling, patches, patches_bound};
pub use pixel_unshuffle::{BlockLayout, pixel_shuffle, pixel_unshuffle};
