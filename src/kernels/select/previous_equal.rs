//! The nearest earlier token of the same label.

use crate::checks::expect;
use crate::device::{BindingElem::U32, Call, Header, Lowering, Shader, Slot, params};
use crate::error::Error;
use crate::graph::{Graph, Kernel, Tensor};
use crate::kernels::operands::lengths_or_full;
use crate::reference;
use crate::tensor::{Desc, Elem, HostTensor};

params! {
    struct Params { elements: u32, tokens: u32 }
}

pub(super) static PREVIOUS_EQUAL: Shader = Shader {
    name: "previous_equal",
    source: include_str!("../../../shaders/select/previous_equal.wgsl"),
    includes: &[],
    headers: &[Header::U32],
    inputs: &[("labels", U32), ("lengths", U32)],
    outputs: &[("previous", U32)],
    params: Params::NAMES,
    tunings: &[&[]],
};

/// Links to the token before.
#[derive(Debug, Clone, Copy)]
struct PreviousEqual;

/// The nearest earlier token of the same label: `previous[b, i]` is the largest j < i with `labels[b, j] = labels[b, i]`, u32
/// `[B, N]`, or [`NONE`](crate::NONE) where there is none. Exact.
///
/// `labels` is u32 `[B, N]`. Label each token of a video with its place in its frame. The result is then the same place of the
/// last frame that still has it. Tokens labelled [`NONE`](crate::NONE), such as a text's, have no equals. The first `lengths[b]`
/// tokens are alive (u32 `[B]`, all for `None`).
///
/// Cost: one dispatch. Each token looks back as far as its previous one is, or to the start of its row where it has none.
///
/// ```
/// use tokenpress::kernels::previous_equal;
/// use tokenpress::{Graph, HostTensor, NONE};
///
/// let mut graph = Graph::new();
/// let labels = graph.constant(HostTensor::u32([1, 4], vec![5, 7, 5, 5]));
/// let previous = previous_equal(&mut graph, labels, None)?;
/// graph.output("previous", previous)?;
/// assert_eq!(graph.run_reference(&[].into())?["previous"].integers(), [NONE, NONE, 0, 2]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
pub fn previous_equal(graph: &mut Graph, labels: Tensor, lengths: Option<Tensor>) -> Result<Tensor, Error> {
    let [batch, tokens] = labels.shape().exactly("previous_equal: labels", "[B, N]")?;
    let lengths = lengths_or_full(graph, lengths, batch, tokens);
    Ok(graph.call(PreviousEqual, &[labels, lengths])?[0])
}

impl Kernel for PreviousEqual {
    fn name(&self) -> &'static str {
        "previous_equal"
    }

    fn output_names(&self) -> &'static [&'static str] {
        &["previous"]
    }

    fn outputs(&self, inputs: &[Desc]) -> Result<Vec<Desc>, Error> {
        let [batch, tokens] = inputs[0].shape.exactly("previous_equal: labels", "[B, N]")?;
        let list = Desc::new([batch, tokens], Elem::U32);
        expect("previous_equal: labels", inputs[0], list)?;
        expect("previous_equal: lengths", inputs[1], Desc::new([batch], Elem::U32))?;
        Ok(vec![list])
    }

    fn reference(&self, inputs: &[&HostTensor]) -> Vec<HostTensor> {
        let [_, tokens] = inputs[0].dims();
        let rows = inputs[0].integers().chunks(tokens.max(1)).zip(inputs[1].integers());
        let previous = rows.flat_map(|(labels, &live)| reference::previous_equal(labels, live)).collect();
        vec![HostTensor::u32(inputs[0].shape(), previous)]
    }

    fn batched_inputs(&self, _inputs: &[Desc]) -> Option<Vec<bool>> {
        Some(vec![true; 2])
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<(), Error> {
        let [_, tokens] = lowering.input(0).shape.exactly("previous_equal: labels", "[B, N]")?;
        let elements = lowering.output(0).shape.elements();
        lowering.dispatch(Call {
            shader: &PREVIOUS_EQUAL,
            header: Header::U32,
            constants: &[],
            slots: &[Slot::Input(0), Slot::Input(1), Slot::Output(0)],
            params: Params { elements: elements as u32, tokens },
            groups: elements.div_ceil(128),
        })
    }
}
