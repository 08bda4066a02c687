//! What several methods share.

pub(crate) mod affine;
pub(crate) mod arithmetic;
pub(crate) mod candidates;
pub(crate) mod contextual;
mod density_clusters;
pub(crate) mod diverse;
pub(crate) mod fused;
pub(crate) mod keep;
pub(crate) mod lists;
pub(crate) mod matching;
pub(crate) mod mean_cosine;
pub(crate) mod merging;
pub(crate) mod multi_head_attention;
pub(crate) mod places;
mod prefill;
pub(crate) mod prune;
mod raters;
mod recycled;
pub(crate) mod runs;
pub(crate) mod transformer;

pub use affine::{Affine, Projections};
pub use contextual::Contextual;
pub use density_clusters::{DensityClusters, DensityClustersOutput};
pub use diverse::Diverse;
pub use matching::Matching;
pub use merging::Merging;
pub use multi_head_attention::{KeyMask, MultiHeadAttention, Projected};
pub use places::{Images, Protect};
pub use prefill::Prefill;
pub use prune::{Prune, Pruned};
pub use raters::Raters;
pub use runs::{PairChoice, Runs};
pub use transformer::{FeedForward, TransformerBlock};
