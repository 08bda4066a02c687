//! Token-compression kernels for transformers, in WGSL on wgpu.
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod compare;
mod error;
pub mod gpu;
mod graph;
pub mod kernels;
pub mod methods;
pub mod random;
pub mod readback;
pub mod reference;
mod tensor;
pub mod verify;

pub use error::Error;
pub use gpu::{Bindings, Capabilities, Gpu, Plan, Policy, TensorView, required_features, required_limits};
pub use graph::{Cost, Graph, StepCost, Tensor};
pub use tensor::{Desc, Elem, HostData, HostTensor, MAX_RANK, NONE, Shape};
pub use wgpu;
