//! Connected components of a graph of tokens.

use crate::checks::expect;
use crate::device::{BindingElem, Call, Header, Lowering, Shader, Slot, params};
use crate::error::Error;
use crate::graph::{Graph, Kernel, Tensor};
use crate::kernels::operands::{lengths_or_full, steps_of_dispatch};
use crate::reference;
use crate::tensor::{Desc, Elem, HostTensor};

params! {
    struct Params {
        batch: u32,
        tokens: u32,
        /// Steps of this dispatch.
        first: u32,
        last: u32,
    }
}

pub(super) static COMPONENTS: Shader = Shader {
    name: "components",
    source: include_str!("../../../shaders/select/components.wgsl"),
    includes: &[],
    headers: &[Header::U32],
    inputs: &[("pairs", BindingElem::U32), ("lengths", BindingElem::U32)],
    outputs: &[("label", BindingElem::U32), ("memory", BindingElem::U32)],
    params: Params::NAMES,
    tunings: &[&[]],
};

/// Steps of a workgroup in one dispatch, at most: some milliseconds on a GPU.
pub(super) const MOST_STEPS: u32 = 4096;

/// Components of tokens.
#[derive(Debug, Clone, Copy)]
struct Components;

/// The connected components of a graph of tokens: u32 `[B, N]`, for each token the first one of its component, [`NONE`](crate::NONE) for dead
/// tokens.
///
/// `pairs` are bits `[B, N, ceil(N / 32)]`, as [`NearPairs`](crate::kernels::NearPairs) makes them: bit `j % 32` of word `j / 32` of token i
/// links i to j. The first `lengths[b]` tokens are alive (u32 `[B]`, all for `None`); links of and to others do not count. If a link goes one
/// way only, a token has the first token that reaches it.
///
/// Cost: a walk over the tokens of each batch row by one workgroup, linear in N whatever the links are; one read of the pairs, some thousands
/// of tokens to a dispatch. Workspace: N / 4 bytes a row.
///
/// ```
/// use tokenpress::kernels::components;
/// use tokenpress::{Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// // Tokens 0 and 2, and 2 and 3 are linked.
/// let pairs = graph.constant(HostTensor::u32([1, 4, 1], vec![0b100, 0, 0b1001, 0b100]));
/// let labels = components(&mut graph, pairs, None)?;
/// graph.output("labels", labels)?;
/// assert_eq!(graph.run_reference(&[].into())?["labels"].integers(), [0, 1, 0, 0]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[doc(alias("union_find", "label_propagation", "clustering"))]
pub fn components(graph: &mut Graph, pairs: Tensor, lengths: Option<Tensor>) -> Result<Tensor, Error> {
    let [batch, tokens, _] = pairs.shape().exactly("components: pairs", "[B, N, ceil(N / 32)]")?;
    let lengths = lengths_or_full(graph, lengths, batch, tokens);
    Ok(graph.call(Components, &[pairs, lengths])?[0])
}

/// Batch rows and tokens of bits of pairs.
pub(super) fn of_pairs(argument: &'static str, pairs: Desc) -> Result<[u32; 2], Error> {
    let [batch, tokens, words] = pairs.shape.exactly(argument, "[B, N, ceil(N / 32)]")?;
    if words != tokens.div_ceil(32) || tokens > 1 << 31 {
        let expected = "[B, N, ceil(N / 32)] of at most 2^31 tokens".to_owned();
        return Err(Error::Shape { argument, expected, actual: pairs.shape });
    }
    if pairs.elem != Elem::U32 {
        return Err(Error::Elem { argument, expected: "u32", actual: pairs.elem });
    }
    Ok([batch, tokens])
}

impl Kernel for Components {
    fn name(&self) -> &'static str {
        "components"
    }

    fn output_names(&self) -> &'static [&'static str] {
        &["label"]
    }

    fn outputs(&self, inputs: &[Desc]) -> Result<Vec<Desc>, Error> {
        let [batch, tokens] = of_pairs("components: pairs", inputs[0])?;
        expect("components: lengths", inputs[1], Desc::new([batch], Elem::U32))?;
        Ok(vec![Desc::new([batch, tokens], Elem::U32)])
    }

    fn reference(&self, inputs: &[&HostTensor]) -> Vec<HostTensor> {
        let [batch, tokens, words] = inputs[0].dims();
        let row = |b: usize| {
            let pairs = &inputs[0].integers()[b * tokens * words..][..tokens * words];
            reference::components(pairs, tokens, inputs[1].integers()[b] as usize)
        };
        vec![HostTensor::u32([batch as u32, tokens as u32], (0..batch).flat_map(row).collect())]
    }

    fn batched_inputs(&self, _inputs: &[Desc]) -> Option<Vec<bool>> {
        Some(vec![true; 2])
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<(), Error> {
        let [batch, tokens] = of_pairs("components: pairs", lowering.input(0))?;
        let words = u64::from(tokens.div_ceil(32));
        let memory = lowering.scratch(u64::from(batch) * (1 + 2 * words), Elem::U32);
        let steps_each = steps_of_dispatch(2 * words.div_ceil(128) + 1).min(MOST_STEPS);
        for first in (0..tokens).step_by(steps_each as usize) {
            lowering.dispatch(Call {
                shader: &COMPONENTS,
                header: Header::U32,
                constants: &[],
                slots: &[Slot::Input(0), Slot::Input(1), Slot::Output(0), memory],
                params: Params { batch, tokens, first, last: first.saturating_add(steps_each).min(tokens) },
                groups: u64::from(batch),
            })?;
        }
        Ok(())
    }
}
