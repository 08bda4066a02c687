//! A tensor inside somebody's buffer.

use super::texture::Texels;
use crate::error::Error;
use crate::tensor::{Desc, Elem, MAX_RANK, Shape};

/// How far apart the elements of a tensor lie in a buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Strides {
    pub(crate) shape: Shape,
    /// From an element to the next one of each dimension.
    pub(crate) steps: [u32; MAX_RANK],
}

impl Strides {
    /// Elements from the first to the last, both counted.
    pub(crate) fn span(&self) -> u64 {
        let reach = |(dim, step): (&u32, &u32)| u64::from(dim.saturating_sub(1)) * u64::from(*step);
        let reach = self.shape.dims().iter().zip(&self.steps).map(reach).fold(1, u64::saturating_add);
        if self.shape.elements() == 0 { 0 } else { reach }
    }

    /// Whether no two elements lie at one place. Some layouts that only a search would find to be free of that count as not.
    fn are_apart(&self) -> bool {
        let mut dims: Vec<_> = self.shape.dims().iter().zip(&self.steps).filter(|(dim, _)| **dim > 1).collect();
        dims.sort_by_key(|(_, step)| **step);
        let mut covered = 1u64;
        for (dim, step) in dims {
            if u64::from(*step) < covered {
                return false;
            }
            covered = covered.saturating_add(u64::from(dim - 1) * u64::from(*step));
        }
        true
    }
}

/// Where a bound tensor lies.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Place {
    /// Byte offset of the first element in its buffer.
    pub(crate) address: u64,
    /// `None` if it is dense.
    pub(crate) strides: Option<Strides>,
    /// If it lies in a texture.
    pub(crate) texels: Option<Texels>,
}

/// A tensor at a byte offset of a buffer: what the application binds to an input or output of a plan.
///
/// Shape and element type are those of the graph's tensor. For `graph.input("x", [8, 576, 1024], Elem::F16)` the view is `[8, 576,
/// 1024]` f16 too, and channels lie next to each other. The same number of elements in another shape is an error
/// ([`Error::BindingMismatch`]).
///
/// It is dense and row-major, unless [`with_strides`](Self::with_strides) says how far apart its elements lie. So a slice of a larger
/// tensor, a packed projection or a cache with room for more tokens need not be copied by the caller.
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
    strides: Option<Vec<u32>>,
}

impl TensorView {
    /// A view of exactly the tensor's bytes, rounded up to 4.
    ///
    /// `offset` is in bytes. `shape` is that of the graph's tensor, outermost dimension first, such as `[batch, tokens, channels]`.
    /// It is an array or a [`Shape`]. For dimensions in a slice, write `Shape::try_from(dims)?`: a slice may be too long.
    pub fn new(buffer: &wgpu::Buffer, offset: u64, shape: impl Into<Shape>, elem: Elem) -> Self {
        let desc = Desc::new(shape, elem);
        Self { buffer: buffer.clone(), offset, size: None, desc, strides: None }
    }

    /// The same view, to which `size` bytes from its offset on belong: at least those of the tensor. Bindings cover them all, and no
    /// writable view may overlap them.
    pub fn with_size(self, size: u64) -> Self {
        Self { size: Some(size), ..self }
    }

    /// The same view with elements that do not lie next to each other: `strides[d]` elements lie between an element and the next one along
    /// dimension d.
    ///
    /// - The keys of a packed projection `[B, N, 3, H, D]`, as an attention takes them, `[B, H, N, D]`: offset `H D` elements, strides
    ///   `[3 N H D, D, 3 H D, 1]`.
    /// - Tokens `[B, N, C]` in rows that are padded to P numbers: `[N P, P, 1]`. Channels `c ..` of them: the same, at an offset of c elements.
    /// - A result `[B, H, N, D]` in a cache of `capacity` tokens: `[H capacity D, capacity D, D, 1]`.
    /// - An input with a stride of 0 is read again and again, as PyTorch's `expand` has it.
    ///
    /// Values are those of the dense tensor, bit for bit. Kernels read dense rows: the plan copies a strided input once into the workspace
    /// before the first call that reads it, and writes a strided result after its call. Both are dispatches of the plan, and
    /// [`Graph::cost_of`](crate::Graph::cost_of) has their bytes. What lies between the elements stays as it is.
    ///
    /// An output may not lie between the elements of another tensor: the bytes from a tensor's first element to its last count as its own.
    ///
    /// Planning refuses ([`Error::Strides`]) another number of strides than dimensions, and an output with two elements at one place.
    pub fn with_strides(self, strides: &[u32]) -> Self {
        Self { strides: Some(strides.to_vec()), ..self }
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

    /// The strides of a valid view that is not dense.
    pub(crate) fn strides(&self) -> Option<Strides> {
        let list = self.strides.as_ref()?;
        let shape = self.desc.shape;
        let mut steps = [0; MAX_RANK];
        steps.iter_mut().zip(list).for_each(|(step, stride)| *step = *stride);
        let strides = Strides { shape, steps };
        // A stride of a dimension of one element is never taken.
        let mut next = 1u64;
        let mut dense = true;
        for (dim, step) in shape.dims().iter().zip(&steps).rev() {
            dense &= *dim == 1 || u64::from(*step) == next;
            next = next.saturating_mul(u64::from(*dim));
        }
        (!dense && shape.elements() > 0).then_some(strides)
    }

    /// Where it lies.
    pub(crate) fn place(&self) -> Place {
        Place { address: self.offset, strides: self.strides(), texels: None }
    }

    /// Bytes from the first element to the last.
    pub(crate) fn bytes(&self) -> u64 {
        self.strides().map_or(self.desc.bytes(), |strides| strides.span().saturating_mul(self.desc.elem.size()))
    }

    /// Bytes that belong to the view.
    pub(crate) fn range(&self) -> std::ops::Range<u64> {
        self.offset..self.offset.saturating_add(self.size.unwrap_or(0).max(self.bytes()))
    }

    /// Checks everything about the view that does not depend on other views.
    pub(crate) fn validate(&self, name: &str, expected: Desc, is_output: bool) -> Result<(), Error> {
        let tensor = || name.to_owned();
        if self.desc != expected {
            return Err(Error::BindingMismatch { tensor: tensor(), expected: expected.to_string(), actual: self.desc.to_string() });
        }
        if let Some(strides) = &self.strides {
            let wrong = |reason: &str| {
                Err(Error::Strides { tensor: tensor(), shape: self.desc.shape, strides: strides.clone(), reason: reason.to_owned() })
            };
            if strides.len() != self.desc.shape.dims().len() {
                return wrong("there must be one for each dimension");
            }
            if is_output && self.strides().is_some_and(|strides| !strides.are_apart()) {
                return wrong("two elements of an output would lie at one place");
            }
        }
        let alignment = self.desc.elem.size();
        if !self.offset.is_multiple_of(alignment) {
            return Err(Error::Misaligned { tensor: tensor(), offset: self.offset, alignment });
        }
        if !self.buffer.usage().contains(wgpu::BufferUsages::STORAGE) {
            return Err(Error::Usage { tensor: tensor(), required: "STORAGE" });
        }
        let bytes = self.bytes();
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
        if bytes > 0 && bytes.saturating_add(padding) > available {
            return Err(too_small(bytes.saturating_add(padding), available));
        }
        Ok(())
    }
}
