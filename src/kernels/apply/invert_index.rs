//! Where each token went.

use crate::device::{BindingElem, Call, Header, Lowering, Shader, Slot, params};
use crate::error::Error;
use crate::graph::{Graph, Kernel, Tensor};
use crate::reference;
use crate::tensor::{Desc, Elem, HostTensor};

params! {
    struct FillParams { elements: u32 }
}

params! {
    struct PlaceParams { elements: u32, entries: u32, tokens: u32 }
}

pub(super) static FILL: Shader = Shader {
    name: "invert_index",
    source: include_str!("../../../shaders/apply/invert_index.wgsl"),
    includes: &[],
    headers: &[Header::U32],
    inputs: &[],
    outputs: &[("inverse", BindingElem::U32)],
    params: FillParams::NAMES,
    tunings: &[&[]],
};

pub(super) static PLACE: Shader = Shader {
    name: "invert_index.place",
    source: include_str!("../../../shaders/apply/invert_index.place.wgsl"),
    inputs: &[("index", BindingElem::U32)],
    outputs: &[("inverse", BindingElem::AtomicU32)],
    params: PlaceParams::NAMES,
    ..FILL
};

/// Turns "which tokens" into "where each token went".
#[derive(Debug, Clone, Copy)]
struct InvertIndex {
    tokens: u32,
}

/// Turns "which tokens" into "where each token went": `inverse[b, i]` is the lowest m with `index[b, m] == i`, or
/// [`NONE`](crate::NONE); `[B, tokens]`.
///
/// `index` is u32 `[B, M]`. Entries of `tokens` and above point nowhere ([`NONE`](crate::NONE) among them).
///
/// Cost: two dispatches; one write of the inverse, one read of the index, one integer atomic an entry.
///
/// ```
/// use tokenpress::kernels::invert_index;
/// use tokenpress::{Graph, HostTensor, NONE};
///
/// let mut graph = Graph::new();
/// let index = graph.constant(HostTensor::u32([1, 2], vec![2, 0]));
/// let inverse = invert_index(&mut graph, index, 3)?;
/// graph.output("inverse", inverse)?;
/// assert_eq!(graph.run_reference(&[].into())?["inverse"].integers(), [1, NONE, 0]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[doc(alias("inverse_permutation", "argsort"))]
pub fn invert_index(graph: &mut Graph, index: Tensor, tokens: u32) -> Result<Tensor, Error> {
    Ok(graph.call(InvertIndex { tokens }, &[index])?[0])
}

impl Kernel for InvertIndex {
    fn name(&self) -> &'static str {
        "invert_index"
    }

    fn output_names(&self) -> &'static [&'static str] {
        &["inverse"]
    }

    fn outputs(&self, inputs: &[Desc]) -> Result<Vec<Desc>, Error> {
        let [batch, _] = inputs[0].shape.exactly("invert_index: index", "[B, M]")?;
        if inputs[0].elem != Elem::U32 {
            return Err(Error::Elem { argument: "invert_index: index", expected: "u32", actual: inputs[0].elem });
        }
        Ok(vec![Desc::new([batch, self.tokens], Elem::U32)])
    }

    fn reference(&self, inputs: &[&HostTensor]) -> Vec<HostTensor> {
        let [batch, entries] = inputs[0].dims();
        let inverse = reference::invert_index(inputs[0].integers(), batch, entries, self.tokens as usize);
        vec![HostTensor::u32([batch as u32, self.tokens], inverse)]
    }

    fn batched_inputs(&self, _inputs: &[Desc]) -> Option<Vec<bool>> {
        Some(vec![true])
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<(), Error> {
        let [_, entries] = lowering.input(0).shape.exactly("invert_index: index", "[B, M]")?;
        let (elements, written) = (lowering.input(0).shape.elements(), lowering.output(0).shape.elements());
        lowering.dispatch(Call {
            shader: &FILL,
            header: Header::U32,
            constants: &[],
            slots: &[Slot::Output(0)],
            params: FillParams { elements: written as u32 },
            groups: written.div_ceil(128),
        })?;
        lowering.dispatch(Call {
            shader: &PLACE,
            header: Header::U32,
            constants: &[],
            slots: &[Slot::Input(0), Slot::Output(0)],
            params: PlaceParams { elements: elements as u32, entries, tokens: self.tokens },
            groups: if written == 0 { 0 } else { elements.div_ceil(128) },
        })
    }
}
