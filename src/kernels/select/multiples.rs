//! Every s-th place.

use crate::checks::expect;
use crate::device::{BindingElem::U32, Call, Header, Lowering, Shader, Slot, params};
use crate::error::Error;
use crate::graph::{Graph, Kernel, Tensor};
use crate::reference;
use crate::tensor::{Desc, Elem, HostTensor};

params! {
    struct Params { elements: u32, places: u32 }
}

pub(super) static MULTIPLES: Shader = Shader {
    name: "multiples",
    source: include_str!("../../../shaders/select/multiples.wgsl"),
    includes: &[],
    headers: &[Header::U32],
    inputs: &[("steps", U32)],
    outputs: &[("marks", U32)],
    params: Params::NAMES,
    tunings: &[&[]],
};

/// Marks every s-th place of a row.
#[derive(Debug, Clone, Copy)]
struct Multiples {
    places: u32,
}

/// Marks every s-th place of a row: `marks[b, i] = 1` where i is a multiple of `steps[b]`, 0 elsewhere.
///
/// `steps` is u32 `[B]`, which the GPU may have counted; of 0 every place is marked, of [`NONE`](crate::NONE) none. The marks are u32
/// `[B, places]`; [`compact`](crate::kernels::compact()) lists the places of the ones. Cost: one dispatch, `4 B places` bytes written.
///
/// ```
/// use tokenpress::kernels::multiples;
/// use tokenpress::{Elem, Graph, HostTensor, NONE};
///
/// let mut graph = Graph::new();
/// let steps = graph.input("steps", [3], Elem::U32);
/// let marks = multiples(&mut graph, steps, 5)?;
/// graph.output("marks", marks)?;
/// let inputs = [("steps".to_owned(), HostTensor::u32([3], vec![2, 9, NONE]))];
/// let out = graph.run_reference(&inputs.into())?;
/// assert_eq!(out["marks"].integers(), [1, 0, 1, 0, 1, /**/ 1, 0, 0, 0, 0, /**/ 0, 0, 0, 0, 0]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
pub fn multiples(graph: &mut Graph, steps: Tensor, places: u32) -> Result<Tensor, Error> {
    Ok(graph.call(Multiples { places }, &[steps])?[0])
}

impl Kernel for Multiples {
    fn name(&self) -> &'static str {
        "multiples"
    }

    fn output_names(&self) -> &'static [&'static str] {
        &["marks"]
    }

    fn outputs(&self, inputs: &[Desc]) -> Result<Vec<Desc>, Error> {
        let [rows] = inputs[0].shape.exactly("multiples: steps", "[B]")?;
        expect("multiples: steps", inputs[0], Desc::new([rows], Elem::U32))?;
        Ok(vec![Desc::new([rows, self.places], Elem::U32)])
    }

    fn reference(&self, inputs: &[&HostTensor]) -> Vec<HostTensor> {
        let steps = inputs[0].integers();
        let marks = steps.iter().flat_map(|step| reference::multiples(*step, self.places)).collect();
        vec![HostTensor::u32([steps.len() as u32, self.places], marks)]
    }

    fn batched_inputs(&self, _inputs: &[Desc]) -> Option<Vec<bool>> {
        Some(vec![true])
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<(), Error> {
        let elements = lowering.output(0).shape.elements();
        lowering.dispatch(Call {
            shader: &MULTIPLES,
            header: Header::U32,
            constants: &[],
            slots: &[Slot::Input(0), Slot::Output(0)],
            params: Params { elements: elements as u32, places: self.places },
            groups: elements.div_ceil(128),
        })
    }
}
