//! The layers between, so that a whole model runs.

mod attention;
mod convolution;
mod deformable_sample;
mod elementwise;
mod layer_norm;
mod linear;
mod log_size;
mod merge_attention;
mod paged_attention;
mod rotate;

pub use attention::{Align, Attended, Attention, Heads, QueryKeyValue};
pub use convolution::Convolution;
pub use deformable_sample::{DeformableInputs, DeformableSample, Points};
pub use elementwise::{Elementwise, Operation, activate, add, multiply, scale};
pub use layer_norm::LayerNorm;
pub use linear::{Activation, Linear, linear};
pub use log_size::log_size;
pub use merge_attention::merge_attention;
pub use paged_attention::{PagedAttention, PagedInputs};
pub use rotate::{Rope, RotaryPairs};

use crate::device::Shader;

/// The shaders of this room.
pub(super) fn shaders() -> Vec<&'static Shader> {
    vec![
        &attention::ATTENTION,
        &attention::ATTENTION_FEW,
        &attention::ATTENTION_FEW_MERGE,
        &attention::PAGED_ATTENTION,
        &convolution::CONVOLUTION,
        &deformable_sample::DEFORMABLE_SAMPLE,
        &elementwise::ELEMENTWISE,
        &layer_norm::LAYER_NORM,
        &linear::LINEAR,
        &linear::LINEAR_FEW,
        &linear::LINEAR_FEW_STAGED,
        &log_size::LOG_SIZE,
        &merge_attention::MERGE_ATTENTION,
        &rotate::ROTATE,
    ]
}
