//! A convenience layer for examples and tests: a device of its own, host tensors in and out.
//!
//! A runtime does not use it: it has its own device, buffers and encoder, and calls
//! [`Graph::plan`](crate::Graph::plan).

use std::collections::BTreeMap;

use crate::error::Error;
use crate::gpu::{Bindings, Gpu, TensorView, required_features, required_limits};
use crate::graph::Graph;
use crate::tensor::{Desc, HostTensor};

/// Host tensors by name.
pub type HostTensors = BTreeMap<String, HostTensor>;

/// A device made for tokenpress alone.
#[derive(Debug, Clone)]
pub struct Context {
    /// The device.
    pub device: wgpu::Device,
    /// Its queue.
    pub queue: wgpu::Queue,
    /// Its adapter's name, driver, backend and type.
    pub info: wgpu::AdapterInfo,
    /// The device as tokenpress sees it.
    pub gpu: Gpu,
}

fn device_error(error: impl std::fmt::Display) -> Error {
    Error::Device { message: error.to_string() }
}

fn rank(info: &wgpu::AdapterInfo) -> (u32, bool, bool) {
    let kind = match info.device_type {
        wgpu::DeviceType::DiscreteGpu => 0,
        wgpu::DeviceType::IntegratedGpu => 1,
        wgpu::DeviceType::VirtualGpu => 2,
        wgpu::DeviceType::Other => 3,
        wgpu::DeviceType::Cpu => 4,
    };
    // Of software devices, lavapipe compiles to machine code and has every feature.
    (kind, info.backend == wgpu::Backend::Gl, !info.name.contains("llvmpipe"))
}

/// A whole buffer's bytes, once the work submitted so far is done.
pub(crate) fn read(device: &wgpu::Device, queue: &wgpu::Queue, buffer: &wgpu::Buffer) -> Result<Vec<u8>, Error> {
    let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
    let staging = device.create_buffer(&wgpu::BufferDescriptor { label: None, size: buffer.size(), usage, mapped_at_creation: false });
    let mut encoder = device.create_command_encoder(&Default::default());
    encoder.copy_buffer_to_buffer(buffer, 0, &staging, 0, buffer.size());
    queue.submit([encoder.finish()]);
    let (sender, receiver) = std::sync::mpsc::channel();
    staging.slice(..).map_async(wgpu::MapMode::Read, move |result| {
        // The receiver is gone only if this call has failed.
        let _ = sender.send(result);
    });
    device.poll(wgpu::PollType::wait_indefinitely()).map_err(device_error)?;
    receiver.recv().map_err(device_error)?.map_err(device_error)?;
    let bytes = staging.slice(..).get_mapped_range().map_err(device_error)?.to_vec();
    Ok(bytes)
}

impl Context {
    /// Every adapter of these backends, the best first: discrete before integrated before software, OpenGL last of its kind.
    pub async fn adapters(backends: wgpu::Backends) -> Vec<wgpu::Adapter> {
        let descriptor = wgpu::InstanceDescriptor { backends, ..wgpu::InstanceDescriptor::new_without_display_handle() };
        let mut adapters = wgpu::Instance::new(descriptor).enumerate_adapters(backends).await;
        adapters.sort_by_key(|adapter| rank(&adapter.get_info()));
        adapters
    }

    /// A device with the features and limits that tokenpress can use, and timestamps where there are any.
    pub async fn new(adapter: &wgpu::Adapter) -> Result<Self, Error> {
        Self::with_descriptor(adapter, &Self::descriptor(adapter)).await
    }

    /// What [`Context::new`] asks for.
    pub fn descriptor(adapter: &wgpu::Adapter) -> wgpu::DeviceDescriptor<'static> {
        let features = adapter.features();
        let timestamps = features & (wgpu::Features::TIMESTAMP_QUERY | wgpu::Features::TIMESTAMP_QUERY_INSIDE_ENCODERS);
        wgpu::DeviceDescriptor {
            label: Some("tokenpress"),
            required_features: required_features(features) | timestamps,
            required_limits: required_limits(wgpu::Limits::default().or_worse_values_from(&adapter.limits()), &adapter.limits()),
            ..Default::default()
        }
    }

    /// A device of the caller's description.
    pub async fn with_descriptor(adapter: &wgpu::Adapter, descriptor: &wgpu::DeviceDescriptor<'_>) -> Result<Self, Error> {
        let (device, queue) = adapter.request_device(descriptor).await.map_err(device_error)?;
        let info = adapter.get_info();
        let gpu = Gpu::new(&device, &info);
        Ok(Self { device, queue, info, gpu })
    }

    /// One line that says which device this is.
    pub fn describe(&self) -> String {
        let wgpu::AdapterInfo { name, backend, device_type, driver, driver_info, .. } = &self.info;
        format!("{name} ({backend:?}, {device_type:?}, {driver} {driver_info})")
    }

    /// A buffer of these bytes, padded to a multiple of 4.
    pub fn buffer(&self, bytes: &[u8]) -> wgpu::Buffer {
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
        let size = (bytes.len() as u64).next_multiple_of(4).max(4);
        let buffer = self.device.create_buffer(&wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation: false });
        let mut padded = bytes.to_vec();
        padded.resize(size as usize, 0);
        self.queue.write_buffer(&buffer, 0, &padded);
        buffer
    }

    /// A view of a new buffer with this tensor's contents.
    pub fn upload(&self, tensor: &HostTensor) -> TensorView {
        TensorView::new(&self.buffer(tensor.bytes()), 0, tensor.shape(), tensor.desc().elem)
    }

    /// A view of a new buffer of zeros.
    pub fn empty(&self, desc: Desc) -> TensorView {
        TensorView::new(&self.buffer(&vec![0; desc.bytes() as usize]), 0, desc.shape, desc.elem)
    }

    /// A whole buffer's bytes, once the work submitted so far is done.
    pub async fn read(&self, buffer: &wgpu::Buffer) -> Result<Vec<u8>, Error> {
        read(&self.device, &self.queue, buffer)
    }

    /// The contents of a view.
    pub async fn download(&self, view: &TensorView) -> Result<HostTensor, Error> {
        let bytes = self.read(view.buffer()).await?;
        Ok(HostTensor::from_bytes(view.desc(), &bytes[view.offset() as usize..]))
    }

    /// Plans a graph, runs it once, and gives every output by name.
    pub async fn run(&self, graph: &Graph, inputs: &HostTensors) -> Result<HostTensors, Error> {
        let mut bindings = Bindings::new();
        for (name, tensor) in inputs {
            bindings = bindings.bind(name, self.upload(tensor));
        }
        let views: Vec<_> = graph.outputs().map(|(name, desc)| (name.to_owned(), self.empty(desc))).collect();
        for (name, view) in &views {
            bindings = bindings.bind(name, view.clone());
        }
        let plan = graph.plan(&self.gpu, &bindings)?;
        let mut encoder = self.device.create_command_encoder(&Default::default());
        plan.record_into(&mut encoder, None);
        self.queue.submit([encoder.finish()]);
        let mut outputs = HostTensors::new();
        for (name, view) in views {
            outputs.insert(name, self.download(&view).await?);
        }
        Ok(outputs)
    }
}
