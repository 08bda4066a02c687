//! A tensor whose elements lie apart, from or to a dense one.

use crate::device::{BindingElem, Call, Header, Include, Lowering, Shader, Slot, Strides, params};
use crate::error::Error;
use crate::tensor::{Elem, MAX_RANK};

params! {
    struct Params {
        /// In elems.
        elements: u32,
        dim1: u32,
        dim2: u32,
        dim3: u32,
        dim4: u32,
        step0: u32,
        step1: u32,
        step2: u32,
        step3: u32,
        step4: u32,
    }
}

/// What errors call it.
pub(crate) const STRIDED_COPY: &str = "strided_copy";

pub(super) static MOVE: Shader = Shader {
    name: "strided_copy",
    source: include_str!("../../../shaders/apply/strided_copy.wgsl"),
    includes: &[Include::Strided],
    headers: &[Header::F16, Header::U32, Header::Words],
    inputs: &[("source", BindingElem::Elem)],
    outputs: &[("copied", BindingElem::Elem)],
    params: Params::NAMES,
    tunings: &[&[("BACK", 0)], &[("BACK", 1)]],
};

pub(super) static PAIRS: Shader = Shader {
    name: "strided_copy.pairs",
    source: include_str!("../../../shaders/apply/strided_copy.pairs.wgsl"),
    includes: &[Include::Strided, Include::Pairs],
    headers: &[Header::U32],
    inputs: &[("source", BindingElem::Halves)],
    outputs: &[("copied", BindingElem::Halves)],
    params: Params::NAMES,
    tunings: &[&[]],
};

pub(super) static SCATTER_PAIRS: Shader = Shader {
    name: "strided_copy.scatter_pairs",
    source: include_str!("../../../shaders/apply/strided_copy.scatter_pairs.wgsl"),
    includes: &[Include::Strided],
    headers: &[Header::U32],
    inputs: &[("source", BindingElem::Halves)],
    outputs: &[("copied", BindingElem::AtomicHalves)],
    params: Params::NAMES,
    tunings: &[&[]],
};

/// Dimensions and steps in elements, without dimensions of 1 and with neighbours that lie as one put together. The last is the innermost.
fn joined(strides: &Strides) -> Vec<(u64, u64)> {
    let mut dims: Vec<(u64, u64)> = Vec::new();
    for (dim, step) in strides.shape.dims().iter().zip(&strides.steps).map(|(dim, step)| (u64::from(*dim), u64::from(*step))) {
        match dims.last_mut() {
            _ if dim == 1 => {}
            Some(outer) if outer.1 == dim * step => *outer = (outer.0 * dim, step),
            _ => dims.push((dim, step)),
        }
    }
    dims
}

/// Copies input 0, which is strided, into output 0, or the other way round.
pub(crate) fn strided_copy(lowering: &mut Lowering<'_>, elem: Elem, strides: Strides, back: bool) -> Result<(), Error> {
    let slots = [Slot::Input(0), Slot::Output(0)];
    let mut dims = joined(&strides);
    // Runs of neighbours move in pieces of 16 or 4 bytes where addresses and steps allow it.
    let (size, alignment) = (elem.size(), lowering.alignment(&slots));
    let fits = |bytes: u64| match dims.split_last() {
        Some(((run, 1), outer)) => {
            let steps = outer.iter().map(|(_, step)| step * size);
            alignment.is_multiple_of(bytes) && steps.chain([run * size]).all(|step| step.is_multiple_of(bytes))
        }
        _ => bytes == size,
    };
    let header = match [Header::Words, Header::U32].into_iter().find(|header| fits(header.size())) {
        Some(header) => header,
        None if elem == Elem::F16 && lowering.capabilities().f16 => Header::F16,
        None => Header::U32,
    };
    let pairs = size == 2 && header == Header::U32 && !fits(4);
    let numbers = if pairs { 1 } else { header.size() / size };
    if let Some(((run, 1), outer)) = dims.split_last_mut() {
        *run /= numbers;
        outer.iter_mut().for_each(|(_, step)| *step /= numbers);
    }
    let elements = strides.shape.elements() / numbers;
    let all: [(u64, u64); MAX_RANK] = std::array::from_fn(|i| (i + dims.len()).checked_sub(MAX_RANK).map_or((1, 0), |d| dims[d]));
    let [(_, step0), (dim1, step1), (dim2, step2), (dim3, step3), (dim4, step4)] = all.map(|(dim, step)| (dim as u32, step as u32));
    let params = Params { elements: elements as u32, dim1, dim2, dim3, dim4, step0, step1, step2, step3, step4 };
    let (shader, constants, invocations) = match (pairs, back) {
        (true, false) => (&PAIRS, PAIRS.tunings[0], elements / 2 + 1),
        (true, true) => (&SCATTER_PAIRS, SCATTER_PAIRS.tunings[0], elements),
        (false, back) => (&MOVE, MOVE.tunings[usize::from(back)], elements),
    };
    lowering.dispatch(Call { shader, header, constants, slots: &slots, params, groups: invocations.div_ceil(128) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::Shape;

    #[test]
    fn dimensions_that_lie_as_one_are_one() {
        let joined = |dims: [u32; 4], steps: [u32; 4]| {
            let mut all = [0; MAX_RANK];
            all[..4].copy_from_slice(&steps);
            joined(&Strides { shape: Shape::from(dims), steps: all })
        };
        assert_eq!(joined([2, 3, 4, 5], [60, 20, 5, 1]), [(120, 1)]);
        assert_eq!(joined([2, 3, 4, 5], [180, 60, 5, 1]), [(6, 60), (20, 1)]);
        assert_eq!(joined([1, 3, 1, 5], [7, 10, 9, 2]), [(15, 2)]);
        assert_eq!(joined([2, 3, 4, 5], [0, 20, 5, 1]), [(2, 0), (60, 1)]);
        assert_eq!(joined([1, 1, 1, 1], [9, 9, 9, 9]), []);
    }
}
