//! A convenience layer for examples and tests: a device of its own, host tensors in and out.
//!
//! A runtime does not use it: it has its own device, buffers and encoder, and calls
//! [`Graph::plan`](crate::Graph::plan).

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{self, Poll, Waker};

use crate::device::{Gpu, TensorView, buffer, checked, device_error, required_features, required_limits, submit};
use crate::error::Error;
use crate::graph::Graph;
use crate::plan::Bindings;
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

fn never_answered() -> Error {
    Error::Device { message: "it never answered".to_owned() }
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

/// The answer of a callback of wgpu's, once it has come.
#[derive(Debug)]
struct Said<T>(Arc<Mutex<(Option<T>, Option<Waker>)>>);

impl<T: Send + 'static> Said<T> {
    /// No answer yet, and the callback that will bring it.
    fn new() -> (Self, impl FnOnce(T) + Send + 'static) {
        let said = Arc::new(Mutex::new((None, None::<Waker>)));
        let state = said.clone();
        let callback = move |value| {
            let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
            state.0 = Some(value);
            if let Some(waker) = state.1.take() {
                waker.wake();
            }
        };
        (Self(said), callback)
    }
}

impl<T> Future for Said<T> {
    type Output = Result<T, Error>;

    fn poll(self: Pin<&mut Self>, context: &mut task::Context<'_>) -> Poll<Self::Output> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(value) = state.0.take() {
            return Poll::Ready(Ok(value));
        }
        if Arc::strong_count(&self.0) == 1 {
            return Poll::Ready(Err(never_answered()));
        }
        state.1 = Some(context.waker().clone());
        Poll::Pending
    }
}

/// A whole buffer's bytes, once the work submitted so far is done.
///
/// A browser goes on by itself. Elsewhere somebody must poll the device: this function does, and blocks its thread.
async fn read(device: &wgpu::Device, queue: &wgpu::Queue, source: &wgpu::Buffer) -> Result<Vec<u8>, Error> {
    if !source.usage().contains(wgpu::BufferUsages::COPY_SRC) {
        return Err(Error::Usage { tensor: "read: buffer".to_owned(), required: "COPY_SRC" });
    }
    if source.size() == 0 {
        return Ok(Vec::new());
    }
    let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
    let label = Some("tokenpress::memory to read");
    let staging = buffer(device, &wgpu::BufferDescriptor { label, size: source.size(), usage, mapped_at_creation: false })?;
    submit(device, queue, |encoder| encoder.copy_buffer_to_buffer(source, 0, &staging, 0, source.size()))?;
    let (mapped, callback) = Said::new();
    checked(
        device,
        || "a mapping".to_owned(),
        || {
            staging.slice(..).map_async(wgpu::MapMode::Read, callback);
            Ok(())
        },
    )?;
    #[cfg(not(target_arch = "wasm32"))]
    device.poll(wgpu::PollType::wait_indefinitely()).map_err(device_error)?;
    mapped.await?.map_err(device_error)?;
    let bytes = staging.slice(..).get_mapped_range().map_err(device_error)?.to_vec();
    Ok(bytes)
}

/// Waits until the work submitted so far is done, as [`read`] does.
pub(crate) async fn done(device: &wgpu::Device, queue: &wgpu::Queue) -> Result<(), Error> {
    let (said, callback) = Said::new();
    checked(
        device,
        || "waiting".to_owned(),
        || {
            queue.on_submitted_work_done(move || callback(()));
            Ok(())
        },
    )?;
    #[cfg(not(target_arch = "wasm32"))]
    device.poll(wgpu::PollType::wait_indefinitely()).map_err(device_error)?;
    said.await
}

/// [`read`] without awaiting: after the poll the answer is there.
#[cfg(not(target_arch = "wasm32"))]
pub(crate) fn read_blocking(device: &wgpu::Device, queue: &wgpu::Queue, buffer: &wgpu::Buffer) -> Result<Vec<u8>, Error> {
    match std::pin::pin!(read(device, queue, buffer)).poll(&mut task::Context::from_waker(Waker::noop())) {
        Poll::Ready(bytes) => bytes,
        Poll::Pending => Err(never_answered()),
    }
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
    ///
    /// If memory is lacking, the device's own handler (`Device::on_uncaptured_error`) gets the error, and panics unless you set it. That
    /// holds for [`Context::upload`] and [`Context::empty`] too.
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
    ///
    /// # Errors
    /// [`Error::Usage`] of a buffer without `COPY_SRC`, [`Error::OutOfMemory`], and [`Error::Device`] where the buffer was destroyed or is
    /// of another device, or the device is lost.
    pub async fn read(&self, buffer: &wgpu::Buffer) -> Result<Vec<u8>, Error> {
        read(&self.device, &self.queue, buffer).await
    }

    /// Waits until the work submitted so far is done.
    ///
    /// # Errors
    /// [`Error::Device`] where the device is lost.
    pub async fn wait(&self) -> Result<(), Error> {
        done(&self.device, &self.queue).await
    }

    /// A texture of one level of `[rows, columns]`.
    pub fn texture(&self, format: wgpu::TextureFormat, [height, width]: [u32; 2], usage: wgpu::TextureUsages) -> wgpu::Texture {
        self.device.create_texture(&wgpu::TextureDescriptor {
            label: None,
            size: wgpu::Extent3d { width, height, depth_or_array_layers: 1 },
            mip_level_count: 1,
            sample_count: 1,
            dimension: wgpu::TextureDimension::D2,
            format,
            usage,
            view_formats: &[],
        })
    }

    /// The bytes of a texture's first level and layer, row by row, once the work submitted so far is done.
    ///
    /// # Errors
    /// [`Error::Usage`] of a texture without `COPY_SRC`, [`Error::Texture`] of a format whose texels have no bytes of their own, and those of
    /// [`Context::read`].
    pub async fn read_texture(&self, texture: &wgpu::Texture) -> Result<Vec<u8>, Error> {
        let tensor = || "read_texture: texture".to_owned();
        if !texture.usage().contains(wgpu::TextureUsages::COPY_SRC) {
            return Err(Error::Usage { tensor: tensor(), required: "COPY_SRC" });
        }
        let Some(texel) = texture.format().block_copy_size(None).filter(|_| texture.format().block_dimensions() == (1, 1)) else {
            let expected = "a format of one aspect, without compression".to_owned();
            return Err(Error::Texture { tensor: tensor(), expected, actual: format!("{:?}", texture.format()) });
        };
        let row = texture.width() * texel;
        let pitch = row.next_multiple_of(wgpu::COPY_BYTES_PER_ROW_ALIGNMENT);
        let size = u64::from(pitch) * u64::from(texture.height());
        let usage = wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::COPY_SRC;
        let lines = buffer(&self.device, &wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation: false })?;
        let layout = wgpu::TexelCopyBufferLayout { offset: 0, bytes_per_row: Some(pitch), rows_per_image: None };
        let extent = wgpu::Extent3d { depth_or_array_layers: 1, ..texture.size() };
        submit(&self.device, &self.queue, |encoder| {
            encoder.copy_texture_to_buffer(texture.as_image_copy(), wgpu::TexelCopyBufferInfo { buffer: &lines, layout }, extent);
        })?;
        let bytes = self.read(&lines).await?;
        Ok(bytes.chunks(pitch as usize).flat_map(|line| &line[..row as usize]).copied().collect())
    }

    /// The contents of a view.
    ///
    /// # Errors
    /// [`Error::BufferTooSmall`] of a view that reaches past its buffer, and those of [`Context::read`].
    pub async fn download(&self, view: &TensorView) -> Result<HostTensor, Error> {
        let (offset, required, size) = (view.offset(), view.desc().bytes(), view.buffer().size());
        if offset.checked_add(required).is_none_or(|end| end > size) {
            let actual = size.saturating_sub(offset);
            return Err(Error::BufferTooSmall { tensor: "download: view".to_owned(), offset, required, actual });
        }
        let bytes = self.read(view.buffer()).await?;
        let part = offset as usize..(offset + required) as usize;
        HostTensor::from_bytes(view.desc(), &bytes[part])
    }

    /// Plans a graph, runs it once, and gives every output by name.
    ///
    /// # Errors
    /// Those of [`Graph::plan`] and [`Context::read`].
    pub async fn run(&self, graph: &Graph, inputs: &HostTensors) -> Result<HostTensors, Error> {
        let limit = self.gpu.capabilities().max_buffer;
        let tensors = inputs.iter().map(|(name, tensor)| (name.as_str(), tensor.desc())).chain(graph.outputs());
        for (name, desc) in tensors {
            let bytes = desc.bytes();
            if bytes > limit {
                return Err(Error::BindingTooLarge { kernel: "run", tensor: name.to_owned(), bytes, limit });
            }
        }
        let buffers = || {
            let views: Vec<_> = graph.outputs().map(|(name, desc)| (name.to_owned(), self.empty(desc))).collect();
            let all = inputs.iter().map(|(name, tensor)| (name.clone(), self.upload(tensor))).chain(views.iter().cloned());
            Ok((all.collect::<Bindings>(), views))
        };
        let (bindings, views) = checked(&self.device, || "the graph's inputs and outputs".to_owned(), buffers)?;
        let plan = graph.plan(&self.gpu, &bindings)?;
        submit(&self.device, &self.queue, |encoder| plan.record_into(encoder, None))?;
        let mut outputs = HostTensors::new();
        for (name, view) in views {
            outputs.insert(name, self.download(&view).await?);
        }
        Ok(outputs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_later_is_awaited() {
        let (said, callback) = Said::new();
        let speaker = std::thread::spawn(move || {
            std::thread::sleep(std::time::Duration::from_millis(20));
            callback(7);
        });
        assert_eq!(pollster::block_on(said), Ok(7));
        speaker.join().expect("no panic");
    }

    #[test]
    fn what_is_never_said_is_an_error() {
        let (said, callback) = Said::<u32>::new();
        drop(callback);
        assert!(matches!(pollster::block_on(said), Err(Error::Device { .. })));
    }
}
