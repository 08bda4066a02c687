//! Checks of a caller's shapes and data. An error names the argument, what was expected, and what came.

use crate::error::Error;
use crate::tensor::{Desc, Elem, HostTensor, MAX_RANK, Shape};

impl Shape {
    /// The dimensions as an array, if there are exactly `N` of them.
    pub fn exactly<const N: usize>(&self, argument: &'static str, names: &str) -> Result<[u32; N], Error> {
        self.dims().try_into().map_err(|_| Error::Shape { argument, expected: names.to_owned(), actual: *self })
    }
}

/// Dimensions whose number is known at run time, as those of a file are.
///
/// ```
/// use tokenpress::Shape;
///
/// assert_eq!(Shape::try_from(&[2, 3][..])?.dims(), [2, 3]);
/// assert!(Shape::try_from(&[1; 6][..]).is_err());
/// # Ok::<(), tokenpress::Error>(())
/// ```
impl TryFrom<&[u32]> for Shape {
    type Error = Error;

    fn try_from(dims: &[u32]) -> Result<Self, Error> {
        let (expected, actual) = (format!("at most {MAX_RANK} dimensions"), dims.len().to_string());
        Self::of(dims).ok_or(Error::Value { argument: "shape", expected, actual })
    }
}

impl HostTensor {
    /// Elements from the first of these little-endian bytes, as a buffer holds them. [`Error::BufferTooSmall`] if there are too few.
    pub fn from_bytes(desc: Desc, bytes: &[u8]) -> Result<Self, Error> {
        let (required, actual) = (desc.bytes(), bytes.len() as u64);
        let held = usize::try_from(required).ok().and_then(|required| bytes.get(..required));
        let bytes = held.ok_or_else(|| Error::BufferTooSmall { tensor: desc.to_string(), offset: 0, required, actual })?;
        Ok(match desc.elem {
            Elem::F32 => Self::f32(desc.shape, bytemuck::pod_collect_to_vec(bytes)),
            Elem::F16 => Self::f16(desc.shape, bytemuck::pod_collect_to_vec(bytes)),
            Elem::BF16 => Self::bf16(desc.shape, bytemuck::pod_collect_to_vec(bytes)),
            Elem::U32 => Self::u32(desc.shape, bytemuck::pod_collect_to_vec(bytes)),
        })
    }
}

/// An error unless a tensor has this shape and element type.
pub(crate) fn expect(argument: &'static str, actual: Desc, expected: Desc) -> Result<(), Error> {
    if actual.elem != expected.elem {
        let expected = match expected.elem {
            Elem::F32 => "f32",
            Elem::F16 => "f16",
            Elem::BF16 => "bf16",
            Elem::U32 => "u32",
        };
        return Err(Error::Elem { argument, expected, actual: actual.elem });
    }
    if actual.shape != expected.shape {
        return Err(Error::Shape { argument, expected: expected.shape.to_string(), actual: actual.shape });
    }
    Ok(())
}
