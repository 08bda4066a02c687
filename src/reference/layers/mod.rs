//! The CPU twins of [`kernels::layers`](crate::kernels::layers).

mod activation;
pub(crate) mod attention;
mod convolution;
mod deformable_sample;
mod elementwise;
mod layer_norm;
mod linear;
mod log_size;
mod merge_attention;
mod rotate;

pub use activation::Activation;
pub use attention::{Limits, Values, attention, attention_bound};
pub use convolution::{depthwise_convolution, depthwise_convolution_bound};
pub use deformable_sample::{DeformableSampling, deformable_sample, deformable_sample_bound};
pub use elementwise::{Operation, Pairing, elementwise, elementwise_bound};
pub use layer_norm::{RowScale, layer_norm, layer_norm_bound};
pub use linear::{linear, linear_bound};
pub use log_size::{log_size, log_size_bound};
pub use merge_attention::{merge_attention, merge_attention_bound};
pub(crate) use rotate::{DIGITS, LEVELS};
pub use rotate::{RotaryPairs, Rotation, rotate};
