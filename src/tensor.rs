//! Shapes, element types and tensors in host memory.

use half::{bf16, f16};

/// Index that stands for "no token": a dropped parent, or padding after a row's live entries.
pub const NONE: u32 = u32::MAX;

/// Element type of a tensor in storage. Kernels accumulate in f32 whatever the storage.
///
/// No device feature is needed. Where a device reads f16 itself (`wgpu::Features::SHADER_F16`), kernels read f16 tensors as they are. bf16
/// tensors, and f16 tensors on other devices, lie two numbers to a word. Kernels that only move rows of whole words read them as
/// they are. For any other kernel the plan converts them to f32 scratch memory before the call, and results back after it, rounded to the
/// nearest, ties to even; NaN stays NaN, and subnormal numbers stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Elem {
    /// 32-bit float.
    F32,
    /// 16-bit float of IEEE 754: 11 bits of precision, up to 65504.
    F16,
    /// The upper half of an f32: 8 bits of precision, and f32's range.
    BF16,
    /// 32-bit unsigned integer: indices, lengths, counts.
    U32,
}

impl Elem {
    /// Bytes of one element.
    pub const fn size(self) -> u64 {
        match self {
            Self::F16 | Self::BF16 => 2,
            Self::F32 | Self::U32 => 4,
        }
    }

    /// Whether the elements are floats.
    pub const fn is_float(self) -> bool {
        !matches!(self, Self::U32)
    }
}

impl std::fmt::Display for Elem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::BF16 => "bf16",
            Self::U32 => "u32",
        })
    }
}

/// Largest number of dimensions of a [`Shape`].
pub const MAX_RANK: usize = 5;

/// Dimensions of a dense row-major tensor, outermost first; at most [`MAX_RANK`] of them.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Shape {
    dims: [u32; MAX_RANK],
    rank: u8,
}

impl Shape {
    /// The dimensions.
    pub fn dims(&self) -> &[u32] {
        &self.dims[..usize::from(self.rank)]
    }

    /// Number of elements. A shape that is too large for any memory counts as 2^56: so sums of a few sizes in bytes do not overflow.
    pub fn elements(&self) -> u64 {
        match self.dims().contains(&0) {
            true => 0,
            false => self.dims().iter().fold(1u64, |product, &d| product.saturating_mul(u64::from(d))).min(1 << 56),
        }
    }

    /// A shape of these dimensions, if there are not too many.
    pub(crate) fn of(dims: &[u32]) -> Option<Self> {
        let mut all = [1; MAX_RANK];
        all.get_mut(..dims.len())?.copy_from_slice(dims);
        Some(Self { dims: all, rank: dims.len() as u8 })
    }

    /// The same shape with another outermost dimension.
    pub(crate) fn with_batch(mut self, batch: u32) -> Self {
        self.dims[0] = batch;
        self
    }
}

impl<const N: usize> From<[u32; N]> for Shape {
    fn from(dims: [u32; N]) -> Self {
        const { assert!(N <= MAX_RANK, "a shape has at most MAX_RANK dimensions") };
        let mut all = [1; MAX_RANK];
        all[..N].copy_from_slice(&dims);
        Self { dims: all, rank: N as u8 }
    }
}

impl std::fmt::Debug for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.dims()).finish()
    }
}

impl std::fmt::Display for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self:?}")
    }
}

/// Shape and element type of a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Desc {
    /// Dimensions, outermost first.
    pub shape: Shape,
    /// Element type.
    pub elem: Elem,
}

impl Desc {
    /// A tensor's shape and element type.
    pub fn new(shape: impl Into<Shape>, elem: Elem) -> Self {
        Self { shape: shape.into(), elem }
    }

    /// Bytes of the elements.
    pub fn bytes(&self) -> u64 {
        self.shape.elements() * self.elem.size()
    }
}

impl std::fmt::Display for Desc {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}{}", self.elem, self.shape)
    }
}

/// Identifies a tensor's storage within its graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct TensorId(pub(crate) u32);

/// Elements of a [`HostTensor`].
#[derive(Debug, Clone, PartialEq)]
pub enum HostData {
    /// 32-bit floats.
    F32(Vec<f32>),
    /// 16-bit floats.
    F16(Vec<f16>),
    /// The upper halves of 32-bit floats.
    BF16(Vec<bf16>),
    /// 32-bit unsigned integers.
    U32(Vec<u32>),
}

/// A tensor in host memory: what the CPU reference reads and writes.
#[derive(Debug, Clone, PartialEq)]
pub struct HostTensor {
    shape: Shape,
    data: HostData,
}

impl HostTensor {
    /// A tensor of 32-bit floats. Panics if the number of elements is not the shape's.
    pub fn f32(shape: impl Into<Shape>, data: Vec<f32>) -> Self {
        Self::new(shape.into(), HostData::F32(data))
    }

    /// A tensor of 16-bit floats. Panics if the number of elements is not the shape's.
    pub fn f16(shape: impl Into<Shape>, data: Vec<f16>) -> Self {
        Self::new(shape.into(), HostData::F16(data))
    }

    /// A tensor of bf16 numbers. Panics if the number of elements is not the shape's.
    pub fn bf16(shape: impl Into<Shape>, data: Vec<bf16>) -> Self {
        Self::new(shape.into(), HostData::BF16(data))
    }

    /// A tensor of unsigned integers. Panics if the number of elements is not the shape's.
    pub fn u32(shape: impl Into<Shape>, data: Vec<u32>) -> Self {
        Self::new(shape.into(), HostData::U32(data))
    }

    fn new(shape: Shape, data: HostData) -> Self {
        let len = match &data {
            HostData::F32(v) => v.len(),
            HostData::F16(v) => v.len(),
            HostData::BF16(v) => v.len(),
            HostData::U32(v) => v.len(),
        };
        assert_eq!(len as u64, shape.elements(), "{len} elements for shape {shape}");
        Self { shape, data }
    }

    /// Floats, converted to an element type. f16 and bf16 are rounded to the nearest, ties to even. u32 is rounded to the nearest whole number, ties
    /// to even; numbers beyond its range become its ends, and NaN becomes 0. Panics if the number of elements is not the shape's.
    pub fn from_floats(desc: Desc, values: Vec<f32>) -> Self {
        match desc.elem {
            Elem::F32 => Self::f32(desc.shape, values),
            Elem::F16 => Self::f16(desc.shape, values.into_iter().map(f16::from_f32).collect()),
            Elem::BF16 => Self::bf16(desc.shape, values.into_iter().map(bf16::from_f32).collect()),
            Elem::U32 => Self::u32(desc.shape, values.into_iter().map(|value| value.round_ties_even() as u32).collect()),
        }
    }

    /// A tensor of a shape without elements.
    pub(crate) fn empty(desc: Desc) -> Self {
        Self::from_floats(desc, Vec::new())
    }

    /// The elements' bytes, as a buffer holds them.
    pub fn bytes(&self) -> &[u8] {
        match &self.data {
            HostData::F32(v) => bytemuck::cast_slice(v),
            HostData::F16(v) => bytemuck::cast_slice(v),
            HostData::BF16(v) => bytemuck::cast_slice(v),
            HostData::U32(v) => bytemuck::cast_slice(v),
        }
    }

    /// The dimensions.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// The dimensions as an array. Panics if there are not exactly `N`.
    pub(crate) fn dims<const N: usize>(&self) -> [usize; N] {
        assert_eq!(self.shape.dims().len(), N, "rank of {}", self.shape);
        std::array::from_fn(|i| self.shape.dims()[i] as usize)
    }

    /// Shape and element type.
    pub fn desc(&self) -> Desc {
        let elem = match &self.data {
            HostData::F32(_) => Elem::F32,
            HostData::F16(_) => Elem::F16,
            HostData::BF16(_) => Elem::BF16,
            HostData::U32(_) => Elem::U32,
        };
        Desc { shape: self.shape, elem }
    }

    /// The elements.
    pub fn data(&self) -> &HostData {
        &self.data
    }

    /// The elements as f32. Panics for integers.
    pub fn floats(&self) -> Vec<f32> {
        match &self.data {
            HostData::F32(v) => v.clone(),
            HostData::F16(v) => v.iter().map(|x| x.to_f32()).collect(),
            HostData::BF16(v) => v.iter().map(|x| x.to_f32()).collect(),
            HostData::U32(_) => panic!("floats of an integer tensor"),
        }
    }

    /// The elements of an integer tensor. Panics for floats.
    pub fn integers(&self) -> &[u32] {
        match &self.data {
            HostData::U32(v) => v,
            _ => panic!("integers of a float tensor"),
        }
    }

    /// The elements of an integer tensor; none of a float tensor.
    pub(crate) fn as_integers(&self) -> Option<&[u32]> {
        match &self.data {
            HostData::U32(v) => Some(v),
            _ => None,
        }
    }

    /// The same elements under another shape. Panics if the number of elements differs.
    pub fn reshaped(self, shape: impl Into<Shape>) -> Self {
        Self::new(shape.into(), self.data)
    }
}

/// Storage type of a [`HostTensor`], for kernels that move elements without looking at them.
pub(crate) trait Element: Copy {
    /// The value where there is no token: 0, and [`NONE`] for integers.
    const EMPTY: Self;

    /// The number 0.
    const ZERO: Self;

    /// The elements. Panics for another type.
    fn slice(tensor: &HostTensor) -> &[Self];

    /// A tensor of these elements.
    fn tensor(shape: Shape, data: Vec<Self>) -> HostTensor;
}

macro_rules! element {
    ($type:ty, $variant:ident, $zero:expr, $empty:expr) => {
        impl Element for $type {
            const EMPTY: Self = $empty;
            const ZERO: Self = $zero;

            fn slice(tensor: &HostTensor) -> &[Self] {
                match &tensor.data {
                    HostData::$variant(v) => v,
                    _ => panic!("elements of another type"),
                }
            }

            fn tensor(shape: Shape, data: Vec<Self>) -> HostTensor {
                HostTensor::new(shape, HostData::$variant(data))
            }
        }
    };
}
element!(f32, F32, 0.0, 0.0);
element!(f16, F16, f16::ZERO, f16::ZERO);
element!(bf16, BF16, bf16::ZERO, bf16::ZERO);
element!(u32, U32, 0, NONE);

/// The same expression for each storage type: `with_element!(elem, T => f::<T>(..))`.
macro_rules! with_element {
    ($elem:expr, $type:ident => $body:expr) => {
        match $elem {
            $crate::tensor::Elem::F32 => {
                type $type = f32;
                $body
            }
            $crate::tensor::Elem::F16 => {
                type $type = half::f16;
                $body
            }
            $crate::tensor::Elem::BF16 => {
                type $type = half::bf16;
                $body
            }
            $crate::tensor::Elem::U32 => {
                type $type = u32;
                $body
            }
        }
    };
}
pub(crate) use with_element;
