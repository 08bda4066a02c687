//! What wgpu reports while a plan's objects are made, as errors of this crate.
//!
//! A browser reports an error only to a program that awaits it, and planning awaits nothing. There an object that could not be made
//! is invalid, and the application's own handler (`Device::on_uncaptured_error`) gets the error.

use crate::error::Error;

/// The sentence at the root of an error, in one line.
fn sentence(error: &dyn std::error::Error) -> String {
    let mut root = error;
    while let Some(source) = root.source() {
        root = source;
    }
    root.to_string().split_whitespace().collect::<Vec<_>>().join(" ")
}

/// An error of the device, in one line.
pub(crate) fn device_error(error: impl std::error::Error) -> Error {
    Error::Device { message: sentence(&error) }
}

/// Makes objects of a device, and gives the error that the device reports. `what` names the objects, for lack of memory.
#[cfg(not(target_arch = "wasm32"))]
pub(crate) fn checked<T>(
    device: &wgpu::Device,
    what: impl FnOnce() -> String,
    make: impl FnOnce() -> Result<T, Error>,
) -> Result<T, Error> {
    use std::task::{Context, Poll, Waker};
    use wgpu::ErrorFilter::{Internal, OutOfMemory, Validation};
    let scopes = [Internal, Validation, OutOfMemory].map(|filter| device.push_error_scope(filter));
    let made = make();
    // Scopes are popped in reverse order. Lack of memory comes first: an object without memory is invalid, too.
    let mut said = scopes.into_iter().rev().filter_map(|scope| {
        match std::pin::pin!(scope.pop()).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(error) => error,
            Poll::Pending => None, // of browsers only
        }
    });
    let first = said.next();
    said.for_each(drop);
    match first {
        Some(wgpu::Error::OutOfMemory { .. }) => Err(Error::OutOfMemory { what: what() }),
        Some(error) => Err(device_error(error)),
        None => made,
    }
}

/// Makes objects of a device. A browser reports no errors here.
#[cfg(target_arch = "wasm32")]
pub(crate) fn checked<T>(
    _device: &wgpu::Device,
    _what: impl FnOnce() -> String,
    make: impl FnOnce() -> Result<T, Error>,
) -> Result<T, Error> {
    make()
}

/// A new buffer.
pub(crate) fn buffer(device: &wgpu::Device, descriptor: &wgpu::BufferDescriptor<'_>) -> Result<wgpu::Buffer, Error> {
    let what = || {
        let name = descriptor.label.and_then(|label| label.strip_prefix("tokenpress::")).unwrap_or("a buffer");
        format!("{name} of {} bytes", descriptor.size)
    };
    checked(device, what, || Ok(device.create_buffer(descriptor)))
}

/// Whether the device is still there. wgpu reports no error for calls on a lost device, but a buffer made then has no memory.
pub(crate) fn present(device: &wgpu::Device) -> Result<(), Error> {
    let usage = wgpu::BufferUsages::COPY_SRC;
    let probe =
        device.create_buffer(&wgpu::BufferDescriptor { label: Some("tokenpress::probe"), size: 4, usage, mapped_at_creation: true });
    match probe.slice(..).get_mapped_range() {
        Ok(_) => Ok(()),
        Err(_) => Err(Error::Device { message: "it was lost or destroyed".to_owned() }),
    }
}

/// Records, and submits.
pub(crate) fn submit(device: &wgpu::Device, queue: &wgpu::Queue, record: impl FnOnce(&mut wgpu::CommandEncoder)) -> Result<(), Error> {
    checked(
        device,
        || "a submission".to_owned(),
        || {
            let mut encoder = device.create_command_encoder(&Default::default());
            record(&mut encoder);
            queue.submit([encoder.finish()]);
            Ok(())
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_one_line() {
        let (device, _) = wgpu::Device::noop(&Default::default());
        let descriptor = wgpu::BufferDescriptor { label: None, size: 4, usage: wgpu::BufferUsages::empty(), mapped_at_creation: false };
        let Err(Error::Device { message }) = buffer(&device, &descriptor) else { panic!("no error") };
        assert!(!message.contains('\n') && !message.is_empty(), "{message}");
        assert_eq!(present(&device), Ok(()));
        device.destroy();
        assert!(matches!(present(&device), Err(Error::Device { .. })));
    }
}
