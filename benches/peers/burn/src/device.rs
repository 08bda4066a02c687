//! The adapter that our own run was on.

use burn::tensor::Device;
use burn::tensor::wgpu::{WgpuSetup, wgpu};

use crate::Failure;

/// A device of burn's on the adapter of this name and backend.
pub(crate) fn named(name: &str, backend: &str) -> Result<Device, Failure> {
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
    let adapters = pollster::block_on(instance.enumerate_adapters(wgpu::Backends::all()));
    let is_it = |info: &wgpu::AdapterInfo| info.name == name && format!("{:?}", info.backend) == backend;
    let adapter = adapters.into_iter().find(|a| is_it(&a.get_info())).ok_or_else(|| format!("there is no adapter {name} ({backend})"))?;
    let without = wgpu::Features::MAPPABLE_PRIMARY_BUFFERS | wgpu::Features::all_experimental_mask();
    let (device, queue) = pollster::block_on(adapter.request_device(&wgpu::DeviceDescriptor {
        required_features: adapter.features().difference(without),
        required_limits: adapter.limits(),
        memory_hints: wgpu::MemoryHints::MemoryUsage,
        ..Default::default()
    }))?;
    let backend = adapter.get_info().backend;
    Ok(Device::wgpu_options().setup(WgpuSetup { instance, adapter, device, queue, backend }).init()?)
}
