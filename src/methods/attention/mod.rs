//! What decides is attention: how much tokens are looked at.

mod btp;
mod dynamic_vit;
mod evit;
pub(crate) mod fastv;
mod hiprune;
mod holov;
mod idlevit;
mod key_tokens;
mod mustdrop;
pub(crate) mod prumerge;
mod pyramiddrop;
mod rebalanced_top_k;
mod sparsevlm;
pub(crate) mod spatial_patches;
mod visionzip;
mod vispruner;
mod window_merge;

pub use btp::{BalancedOutput, BalancedPrune};
pub use dynamic_vit::{DynamicVit, DynamicVitOutput, Predictor};
pub use evit::{EVit, EVitOutput};
pub use fastv::{FastV, FastVOutput};
pub use hiprune::HiPrune;
pub use holov::{HoloV, HoloVOutput};
pub use idlevit::{IdleVit, IdleVitOutput};
pub use key_tokens::KeyTokens;
pub use mustdrop::{DualAttention, DualAttentionOutput};
pub use prumerge::{PruMerge, PruMergeOutput};
pub use pyramiddrop::PyramidDrop;
pub use rebalanced_top_k::{RebalancedTopK, spatial_spread};
pub use sparsevlm::{SparseVlm, SparseVlmOutput};
pub use visionzip::{VisionZip, VisionZipOutput};
pub use vispruner::{VisPruner, VisPrunerOutput};
pub use window_merge::{WindowMerge, WindowMergeOutput};
