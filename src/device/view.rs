//! A tensor inside somebody's buffer.

use crate::error::Error;
use crate::tensor::{Desc, Elem, Shape};

/// A dense row-major tensor at a byte offset of a buffer: what the application binds to an input or output of a plan.
///
/// Shape and element type are those of the graph's tensor. For `graph.input("x", [8, 576, 1024], Elem::F16)` the view is `[8, 576,
/// 1024]` f16 too, and channels lie next to each other. The same number of elements in another shape is an error
/// ([`Error::BindingMismatch`]).
///
/// There are no strides. A part of a larger tensor is a view only if it is contiguous, such as some of its batch rows. Copy any
/// other part first.
///
/// The offset must be a multiple of the element size. It need not be a multiple of the device's storage alignment: the view is
/// bound at the aligned offset below, and the kernel is told the rest. Kernels that add over channels are faster where a tensor
/// lies at a multiple of 16 bytes. Elsewhere they read a copy of it, so the result is the same.
#[derive(Debug, Clone)]
pub struct TensorView {
    buffer: wgpu::Buffer,
    offset: u64,
    /// Bytes that the caller says belong to it.
    size: Option<u64>,
    desc: Desc,
}

impl TensorView {
    /// A view of exactly the tensor's bytes, rounded up to 4.
    ///
    /// `offset` is in bytes. `shape` is that of the graph's tensor, outermost dimension first, such as `[batch, tokens, channels]`.
    /// It is an array or a [`Shape`]. For dimensions in a slice, write `Shape::try_from(dims)?`: a slice may be too long.
    pub fn new(buffer: &wgpu::Buffer, offset: u64, shape: impl Into<Shape>, elem: Elem) -> Self {
        let desc = Desc::new(shape, elem);
        Self { buffer: buffer.clone(), offset, size: None, desc }
    }

    /// The same view, to which `size` bytes from its offset on belong: at least those of the tensor. Bindings cover them all, and no
    /// writable view may overlap them.
    pub fn with_size(self, size: u64) -> Self {
        Self { size: Some(size), ..self }
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

    /// Bytes that belong to the view.
    pub(crate) fn range(&self) -> std::ops::Range<u64> {
        self.offset..self.offset + self.size.unwrap_or(0).max(self.desc.bytes())
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
        if let Some(size) = self.size {
            if size < bytes {
                return Err(too_small(bytes, size));
            }
            if size > available {
                return Err(too_small(size, available));
            }
        }
        let padding = self.offset.wrapping_neg().wrapping_sub(bytes) % 4;
        if bytes > 0 && bytes + padding > available {
            return Err(too_small(bytes + padding, available));
        }
        Ok(())
    }
}
