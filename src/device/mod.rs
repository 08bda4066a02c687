//! The host layer: a caller's device in, recordable plans out.
//!
//! Nothing here keeps an adapter, a queue or an instance, submits, waits, maps, or allocates while
//! recording.

mod capabilities;
mod errors;
mod grid;
mod lowering;
mod pipelines;
#[cfg(not(target_arch = "wasm32"))]
mod reflect;
mod shader;
mod texture;
mod tuning;
mod variant;
mod view;

pub use capabilities::{Capabilities, Policy, required_features, required_limits};
pub use lowering::{Call, Lowering, Slot};
pub use shader::{Access, BindingElem, Form, Header, Include, MatrixSize, Params, Shader, Word};
pub use texture::{StorageFormat, TextureView};
pub use tuning::Tuning;
pub use variant::Variant;
pub use view::TensorView;

pub(crate) use errors::{buffer, checked, device_error, present, submit};
pub(crate) use lowering::{Copied, Dispatch, Operand, Resource, Storage};
pub(crate) use pipelines::Pipeline;
pub(crate) use shader::params;
pub(crate) use texture::Texels;
#[cfg(test)]
pub(crate) use tuning::CHOICES;
pub(crate) use view::{Place, Strides};

use std::sync::Arc;

use crate::error::Error;

/// A caller's device, what it can do, and the pipelines made on it so far.
///
/// Cheap to clone; `Send + Sync` on native.
#[derive(Debug, Clone)]
pub struct Gpu {
    device: wgpu::Device,
    capabilities: Capabilities,
    policy: Policy,
    pipelines: Arc<pipelines::Pipelines>,
}

impl Gpu {
    /// Reads the facts about the device. Pipelines are made when a plan first needs them.
    pub fn new(device: &wgpu::Device, info: &wgpu::AdapterInfo) -> Self {
        Self::with_pipeline_cache(device, info, None)
    }

    /// As [`Gpu::new`], compiling through the caller's pipeline cache.
    pub fn with_pipeline_cache(device: &wgpu::Device, info: &wgpu::AdapterInfo, cache: Option<wgpu::PipelineCache>) -> Self {
        Self {
            device: device.clone(),
            capabilities: Capabilities::of(device, info),
            policy: Policy::default(),
            pipelines: Arc::new(pipelines::Pipelines::new(cache)),
        }
    }

    /// The same device and pipelines under another choice of variants.
    pub fn with_policy(&self, policy: Policy) -> Self {
        Self { policy, ..self.clone() }
    }

    /// The same device and pipelines, and cooperative matrices of this size.
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn with_matrices(&self, size: MatrixSize) -> Self {
        let capabilities = Capabilities { cooperative_matrix: Some(size), ..self.capabilities.clone() };
        Self { capabilities, ..self.clone() }
    }

    /// Facts about the device.
    pub fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// Which variants are chosen where several would do.
    pub fn policy(&self) -> Policy {
        self.policy
    }

    /// The device.
    pub fn device(&self) -> &wgpu::Device {
        &self.device
    }

    /// Compiles these variants now, so that a later plan finds them. [`Graph::variants`](crate::Graph::variants) lists those that a
    /// graph needs. Calls from several threads compile in parallel.
    ///
    /// # Errors
    /// [`Error::Shader`] for a shader with a mistake, [`Error::MissingFeature`], and [`Error::Device`] if the device is lost.
    pub fn warm_up(&self, variants: &[Variant]) -> Result<(), Error> {
        for variant in variants {
            self.pipeline(variant.shader.name, variant)?;
        }
        present(&self.device)
    }

    /// The pipeline of a variant, compiled on first use. `kernel` needs it, and is named in errors.
    pub(crate) fn pipeline(&self, kernel: &'static str, variant: &Variant) -> Result<Pipeline, Error> {
        self.pipelines.get(&self.device, &self.capabilities, kernel, variant)
    }

    /// Whether this device runs a variant: it has the features that the variant needs.
    pub fn supports(&self, variant: &Variant) -> bool {
        self.capabilities.supports(variant.shader, variant.header, variant.form)
    }
}
