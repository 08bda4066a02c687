//! How much to compress, and at which layer. These are pure functions: a server can size its buffers before any token exists.

mod budget;
mod counts;
mod loss;
mod merge;
mod pyramid;
mod samples;
mod search;
mod staged;

pub use budget::{Budget, LayerCost};
pub use counts::{Rounding, keep_count};
pub(crate) use counts::{floor_division, truncated_after_rounding};
pub use loss::{cosine_distance, divergence};
pub use merge::MergeSchedule;
pub use pyramid::PyramidKV;
pub use samples::{drift_stages, progressive_thresholds, similarity_threshold};
pub use search::{Found, Search};
pub use staged::{ShareOf, StagedKeep};
