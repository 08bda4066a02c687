//! The published systems, each a short function over the graph.

mod evit;
mod fastv;
mod idlevit;
mod pixel_unshuffle;
mod prune;
mod tome;

pub use evit::{EVit, EVitOutput};
pub use fastv::{FastV, FastVOutput};
pub use idlevit::{IdleVit, IdleVitOutput};
pub use pixel_unshuffle::{mistral3_packed, nvlm_dynamic_resolution, qwen2_vl_patch_order};
pub use prune::{Prune, Pruned};
pub use tome::{Matching, Merging, Protect, ToMe};
