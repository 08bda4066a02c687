//! Numbers in another type.

use crate::tensor::{Desc, Elem, HostTensor};

/// Every element in another type: to a float the nearest, ties to even, with whole numbers by way of f32; to u32 the whole part, the
/// nearest end of the range beyond it, and 0 of NaN.
pub fn convert(x: &HostTensor, elem: Elem) -> HostTensor {
    let desc = Desc { shape: x.shape(), elem };
    match (x.as_integers(), elem) {
        (Some(_), Elem::U32) => x.clone(),
        (Some(numbers), _) => HostTensor::from_floats(desc, numbers.iter().map(|n| *n as f32).collect()),
        (None, Elem::U32) => HostTensor::u32(desc.shape, x.floats().into_iter().map(|value| value as u32).collect()),
        (None, _) if elem == x.desc().elem => x.clone(),
        (None, _) => HostTensor::from_floats(desc, x.floats()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_type_to_each() {
        let floats = HostTensor::f32([6], vec![2.75, -1.0, 1e5, f32::NAN, 5e9, 1.0 + 1.0 / 256.0]);
        assert_eq!(convert(&floats, Elem::U32).integers(), [2, 0, 100_000, 0, u32::MAX, 1]);
        let half = convert(&floats, Elem::F16).floats();
        assert!(half[2] == f32::INFINITY && half[3].is_nan());
        let brain = convert(&floats, Elem::BF16).floats();
        // Ties go to even. 1e5 stays finite.
        assert_eq!((brain[0], brain[2], brain[5]), (2.75, 99_840.0, 1.0));
        let numbers = HostTensor::u32([3], vec![7, (1 << 24) + 1, u32::MAX]);
        assert_eq!(convert(&numbers, Elem::F32).floats(), [7.0, 16_777_216.0, 4_294_967_296.0]);
        assert_eq!(convert(&numbers, Elem::F16).floats(), [7.0, f32::INFINITY, f32::INFINITY]);
    }
}
