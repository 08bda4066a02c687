//! What a graph needs on a device: a plan, its workspace, its shader variants.

use super::Plan;
use super::bindings::{Bindings, Externals};
use super::lower::lower_graph;
use super::workspace::{Workspace, placed_elsewhere};
use crate::device::{Access, Gpu, Place, Variant};
use crate::error::Error;
use crate::graph::Graph;
use crate::tensor::TensorId;

/// Bytes of workspace of a graph whose bound tensors lie at these places.
fn size_of(graph: &Graph, gpu: &Gpu, place: &dyn Fn(TensorId) -> Place) -> Result<u64, Error> {
    let program = lower_graph(graph, gpu.capabilities(), gpu.policy(), place)?;
    Ok(Workspace::layout(&program, placed_elsewhere(graph)).bytes)
}

impl Graph {
    /// Checks everything, makes every object, and gives a plan whose recording cannot fail.
    ///
    /// All buffers must come from the device's own `wgpu::Instance`: wgpu does not tell the buffers of two instances apart.
    ///
    /// A browser reports some errors only to a program that awaits them, and this function awaits nothing. There the application's own
    /// handler (`Device::on_uncaptured_error`) gets three kinds of error: lack of memory, a buffer that was destroyed or belongs to another
    /// device, and a mistake in a shader of the application's own.
    ///
    /// # Errors
    /// - For what is wrong with a binding, an error that names the tensor.
    /// - [`Error::UnusableBuffer`] for a buffer that was destroyed or belongs to another device.
    /// - [`Error::Shader`] for a mistake in a shader of the application's own.
    /// - [`Error::BindingTooLarge`], [`Error::WorkspaceTooLarge`], [`Error::TooManyGroups`] and [`Error::MissingFeature`] for what exceeds
    ///   the device's limits and features.
    /// - [`Error::OutOfMemory`], and [`Error::Device`] if the device is lost. In a browser wgpu 30 panics on a device that is lost:
    ///   `Device::set_device_lost_callback` says when not to plan on it any more.
    pub fn plan(&self, gpu: &Gpu, bindings: &Bindings) -> Result<Plan, Error> {
        super::make(self, gpu, bindings, None)
    }

    /// Bytes of workspace that a plan on this device needs, if all bound tensors lie at multiples of 16 bytes.
    pub fn workspace_size(&self, gpu: &Gpu) -> Result<u64, Error> {
        size_of(self, gpu, &|_| Place::default())
    }

    /// Bytes of workspace that a plan of these bindings needs, wherever their tensors lie. Kernels that add over channels read four
    /// numbers at a time. Where a tensor's address does not allow that, the workspace has room for an aligned copy, and for a dense copy
    /// of a strided tensor.
    pub fn workspace_size_of(&self, gpu: &Gpu, bindings: &Bindings) -> Result<u64, Error> {
        let externals = Externals::resolve(self, bindings)?;
        size_of(self, gpu, &|id| externals.place(id))
    }

    /// The shader variants that a plan on this device uses, for [`Gpu::warm_up`]. Each is listed for both kinds of access: the bound
    /// buffers decide between them.
    pub fn variants(&self, gpu: &Gpu) -> Result<Vec<Variant>, Error> {
        let program = lower_graph(self, gpu.capabilities(), gpu.policy(), &|_| Place::default())?;
        let mut variants: Vec<Variant> = Vec::new();
        for dispatch in &program.dispatches {
            for access in [Access::Read, Access::ReadWrite] {
                let variant = dispatch.variant(access);
                if !variants.contains(&variant) {
                    variants.push(variant);
                }
            }
        }
        Ok(variants)
    }
}
