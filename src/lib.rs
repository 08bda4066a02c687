//! Token-compression kernels for transformers, in WGSL on [wgpu](https://wgpu.rs).
//!
//! A [`Graph`] is a list of kernel calls over tensor handles. The [`methods`] (ToMe, EViT, FastV ...) are short functions that add calls to
//! it. [`Graph::plan`] checks the graph against your buffers, and makes pipelines and bind groups. [`Plan::record`] records it into your
//! compute pass. [`Graph::run_reference`] runs the same graph on the CPU, and [`verify`] compares the two after every call.
//!
//! ```
//! use tokenpress::methods::{Protect, ToMe};
//! use tokenpress::{Elem, Error, Graph};
//!
//! // One of 197 tokens is the class token; the 16 most similar pairs of the others merge, by the keys of their attention.
//! let mut graph = Graph::new();
//! let tokens = graph.tokens("x", [8, 197, 768], Elem::F32)?;
//! let keys = graph.input("keys", [8, 12, 197, 64], Elem::F32);
//! let out = ToMe { merge: 16, protect: Protect::CLASS, ..Default::default() }.build(&mut graph, &tokens, keys)?;
//! graph.output("merged", out.tokens.x)?;
//! assert_eq!(out.tokens.x.shape().dims(), [8, 181, 768]);
//! # Ok::<(), Error>(())
//! ```
//!
//! The README has a whole program, from device to result. The guide (`docs/guide.md`) goes on with buffers that tensors share, rows of
//! different lengths, several layers in one plan, a KV cache, textures, and the choice of a method.
//!
//! # Where to look
//!
//! | question | kernels | methods |
//! |---|---|---|
//! | Which tokens matter, and which are alike? | [`kernels::score`] | [`methods::attention`], [`methods::similarity`] |
//! | Which of them stay? | [`kernels::select`] | [`methods::Prune`], [`methods::cache`], [`schedule`] |
//! | What moves where? | [`kernels::apply`], [`kernels::images`], [`TokenMap`] | [`methods::query`], [`methods::transformation`] |
//! | What does a model compute between these? | [`kernels::layers`] | [`methods::TransformerBlock`] |
//!
//! From the highest layer of the crate to the lowest:
//!
//! | layer | what it has |
//! |---|---|
//! | [`readback`], [`verify`], [`tune`](tune()) | a device for tests and tools; comparing, measuring |
//! | [`Plan`], [`Bindings`], [`Cost`] | a graph on a device |
//! | [`Graph`], [`Tensor`], [`kernels::Kernel`] | what is computed |
//! | [`device`]: [`Gpu`], [`TensorView`], [`device::Shader`] | your device, your buffers, shaders and their variants |
//! | [`reference`](mod@reference), [`compare`] | every kernel on the CPU, and how results are compared |
//!
//! # Contract
//!
//! - Tensors are dense and row-major, `f32`, `f16`, `bf16` or `u32`. Floats accumulate in `f32` on the GPU, in `f64` in the
//!   reference. No type needs a device feature ([`Elem`]).
//! - **Order** is total: value descending, then lowest index. -0 equals +0, and NaN ranks lowest. Maxima of `reduce`, `pool` and
//!   `merge_tokens` skip NaN, and ReLU of a NaN is 0. A NaN logit makes its row of attention NaN.
//! - **Cosines** are from -1 to 1. Near 1 a cosine is computed from the difference of the two rows. So two rows of the same direction
//!   have exactly 1, and pass a threshold of 1 on every device. A zero row has cosine 0 to everything.
//! - **Sums** have a fixed order: two runs on one device are bit-identical. The same numbers at another address, or in one buffer with
//!   others, give the same bits. Only the bits of a NaN may differ.
//! - **Means** of finite numbers are finite, weighted by positive numbers or not, and so are pooled averages. Their sums may leave f32's
//!   range on the way. A result is infinite only if it lies beyond the range itself (in f16 it may be the largest number instead). A NaN or
//!   an infinity among the numbers counts as in IEEE arithmetic.
//! - **Softmax** keeps a row's largest logit and its sum as two numbers. A bias of negative infinity hides a key. A key that a row does not
//!   see does not matter, even if it holds a NaN. A row that sees nothing is 0, and its log-sum-exp is negative infinity. Logits saturate
//!   at the largest float.
//! - **Live tokens** of batch row `b` are its first `lengths[b]`. What comes after them never changes a result. After them outputs hold 0,
//!   or [`NONE`] for indices.
//! - **A row of a batch** gets what it would get alone, to the bit, at the same capacity. At another capacity another form of a shader may
//!   run, whose sums have another order.
//! - **Errors.** Shapes and options are checked while a graph is built, buffers and limits in `plan`. Recording cannot fail.
#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]

mod checks;
pub mod compare;
pub mod device;
mod error;
mod graph;
pub mod kernels;
#[cfg(not(target_arch = "wasm32"))]
mod matrices;
pub mod methods;
mod options;
mod pattern;
mod plan;
pub mod random;
pub mod readback;
pub mod reference;
pub mod schedule;
mod tensor;
mod token_map;
mod tune;
pub mod verify;

pub use device::{Capabilities, Gpu, Policy, TensorView, TextureView, Tuning, required_features, required_limits};
pub use error::Error;
pub use graph::{Graph, Tensor};
pub use plan::{
    BindingData, Bindings, BufferData, Cost, DispatchData, LimitsData, PipelineData, Plan, PlanData, Rates, ShaderData, StepCost,
    TensorData,
};
pub use tensor::{Desc, Elem, HostData, HostTensor, MAX_RANK, NONE, Shape};
pub use token_map::{Compressed, Positions, TokenMap, Tokens};
pub use tune::tune;
pub use wgpu;

/// What [`device`] was called before.
#[deprecated(note = "it is `device` now")]
pub mod gpu {
    pub use crate::device::*;
}

/// `docs/guide.md`, whose programs are tests.
#[cfg(doctest)]
#[doc = include_str!("../docs/guide.md")]
struct Guide;
