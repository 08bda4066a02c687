//! What a graph is asked of a device.

use super::Plan;
use super::bindings::{Bindings, Externals};
use super::lower::lower_graph;
use super::workspace::{Workspace, placed_elsewhere};
use crate::device::{Access, Gpu, Variant};
use crate::error::Error;
use crate::graph::Graph;
use crate::tensor::TensorId;

/// Bytes of workspace of a graph whose tensors lie at these offsets.
fn size_of(graph: &Graph, gpu: &Gpu, address: &dyn Fn(TensorId) -> u64) -> Result<u64, Error> {
    let program = lower_graph(graph, gpu.capabilities(), gpu.policy(), address)?;
    Ok(Workspace::layout(&program, placed_elsewhere(graph)).bytes)
}

impl Graph {
    /// Validates everything, makes every object, and gives a plan whose recording cannot fail.
    ///
    /// In a browser a program hears what the device says only when it awaits it, and this awaits nothing: there want of memory, buffers
    /// that were destroyed or are another device's, and the text of an application's own shaders are told to the application's handler
    /// (`Device::on_uncaptured_error`). wgpu does not tell buffers of two `wgpu::Instance`s apart: all must be of the device's own.
    ///
    /// # Errors
    /// What is wrong with bindings, each by its tensor's name; [`Error::UnusableBuffer`] of a buffer that was destroyed or is another
    /// device's; [`Error::Shader`] of an application's own kernel whose shader is wrong; what exceeds the device's limits and features;
    /// [`Error::OutOfMemory`]; [`Error::Device`] where the device is lost.
    pub fn plan(&self, gpu: &Gpu, bindings: &Bindings) -> Result<Plan, Error> {
        super::make(self, gpu, bindings, None)
    }

    /// Bytes of workspace that a plan on this device needs whose tensors all lie at multiples of 16 bytes.
    pub fn workspace_size(&self, gpu: &Gpu) -> Result<u64, Error> {
        size_of(self, gpu, &|_| 0)
    }

    /// Bytes of workspace that a plan of these bindings needs, wherever their tensors lie: those that four numbers cannot be read from at a time
    /// are copied for kernels that add over channels.
    pub fn workspace_size_of(&self, gpu: &Gpu, bindings: &Bindings) -> Result<u64, Error> {
        {
            let externals = Externals::resolve(self, bindings)?;
            size_of(self, gpu, &|id| externals.address(id))
        }
    }

    /// The shader variants that a plan on this device uses, for [`Gpu::warm_up`]; both kinds of access,
    /// since buffers decide between them.
    pub fn variants(&self, gpu: &Gpu) -> Result<Vec<Variant>, Error> {
        let program = lower_graph(self, gpu.capabilities(), gpu.policy(), &|_| 0)?;
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
