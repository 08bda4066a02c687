//! A tensor inside somebody's buffer.

use crate::error::Error;
use crate::tensor::{Desc, Elem, Shape};

/// A dense row-major tensor at a byte offset of a buffer.
///
/// The offset must be a multiple of the element size. It need not be a multiple of the device's storage
/// alignment: the view is then bound at the aligned offset below, and the kernel is told the rest.
#[derive(Debug, Clone)]
pub struct TensorView {
    buffer: wgpu::Buffer,
    offset: u64,
    size: u64,
    desc: Desc,
}

impl TensorView {
    /// A view of exactly the tensor's bytes, rounded up to 4.
    pub fn new(buffer: &wgpu::Buffer, offset: u64, shape: impl Into<Shape>, elem: Elem) -> Self {
        let desc = Desc::new(shape, elem);
        Self { buffer: buffer.clone(), offset, size: desc.bytes().next_multiple_of(4), desc }
    }

    /// The same view with its own statement of how many bytes belong to it.
    pub fn with_size(self, size: u64) -> Self {
        Self { size, ..self }
    }

    /// The buffer.
    pub fn buffer(&self) -> &wgpu::Buffer {
        &self.buffer
    }

    /// Byte offset of the first element.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Shape and element type.
    pub fn desc(&self) -> Desc {
        self.desc
    }

    /// Bytes that the elements cover in the buffer.
    pub(crate) fn range(&self) -> std::ops::Range<u64> {
        self.offset..self.offset + self.desc.bytes()
    }

    /// Checks everything about the view that does not depend on other views.
    pub(crate) fn validate(&self, name: &str, expected: Desc) -> Result<(), Error> {
        let tensor = || name.to_owned();
        if self.desc != expected {
            return Err(Error::BindingMismatch { tensor: tensor(), expected: expected.to_string(), actual: self.desc.to_string() });
        }
        let alignment = self.desc.elem.size();
        if !self.offset.is_multiple_of(alignment) {
            return Err(Error::Misaligned { tensor: tensor(), offset: self.offset, alignment });
        }
        if !self.buffer.usage().contains(wgpu::BufferUsages::STORAGE) {
            return Err(Error::Usage { tensor: tensor(), required: "STORAGE" });
        }
        let bytes = self.desc.bytes();
        // wgpu binds multiples of 4 bytes from an aligned offset: an odd f16 tensor needs two bytes more.
        let available = self.buffer.size().saturating_sub(self.offset);
        let too_small = |required, actual| Error::BufferTooSmall { tensor: name.to_owned(), offset: self.offset, required, actual };
        if self.size < bytes {
            return Err(too_small(bytes, self.size));
        }
        let padding = self.offset.wrapping_neg().wrapping_sub(bytes) % 4;
        if bytes > 0 && bytes + padding > available {
            return Err(too_small(bytes + padding, available));
        }
        Ok(())
    }
}
