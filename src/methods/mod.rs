//! The published systems, each a short function over the graph.

mod pixel_unshuffle;

pub use pixel_unshuffle::{mistral3_packed, nvlm_dynamic_resolution, qwen2_vl_patch_order};
