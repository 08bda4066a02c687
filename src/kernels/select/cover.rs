//! A cover of a graph of tokens.

use super::components::{MOST_STEPS, of_pairs};
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
        /// Of the order.
        entries: u32,
        /// Entries of this dispatch.
        first: u32,
        last: u32,
    }
}

pub(super) static COVER: Shader = Shader {
    name: "cover",
    source: include_str!("../../../shaders/select/cover.wgsl"),
    includes: &[],
    headers: &[Header::U32],
    inputs: &[("pairs", BindingElem::U32), ("order", BindingElem::U32), ("lengths", BindingElem::U32)],
    outputs: &[("chosen", BindingElem::U32), ("covered", BindingElem::U32)],
    params: Params::NAMES,
    tunings: &[&[]],
};

/// Tokens that cover all.
#[derive(Debug, Clone, Copy)]
struct Cover;

/// Chooses tokens that are linked to all others and not to each other: u32 `[B, N]`, 1 for each chosen token.
///
/// ```text
/// in the order of `order`: a token is chosen if no token chosen before it is linked to it
/// ```
///
/// It is the first maximal independent set in that order. With links of tokens within a radius, every token of the order lies within it of
/// a chosen one, and no two chosen ones do.
///
/// `pairs` are bits `[B, N, ceil(N / 32)]`, as [`NearPairs`](crate::kernels::NearPairs) makes them: bit `j % 32` of word `j / 32` of token i
/// links i to j. `order` is u32 `[B, M]`; entries that are no live token, such as [`NONE`](crate::NONE), are skipped, and those that come
/// again too. The first `lengths[b]` tokens are alive (u32 `[B]`, all for `None`).
///
/// Cost: a walk along the order of each batch row by one workgroup; one read of the pairs of what is chosen, some thousands of entries to a
/// dispatch. Workspace: N / 8 bytes a row.
///
/// ```
/// use tokenpress::kernels::cover;
/// use tokenpress::{Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// // A chain of four tokens.
/// let pairs = graph.constant(HostTensor::u32([1, 4, 1], vec![0b10, 0b101, 0b1010, 0b100]));
/// let order = graph.constant(HostTensor::u32([1, 4], vec![1, 0, 3, 2]));
/// let chosen = cover(&mut graph, pairs, order, None)?;
/// graph.output("chosen", chosen)?;
/// assert_eq!(graph.run_reference(&[].into())?["chosen"].integers(), [0, 1, 0, 1]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[doc(alias("independent_set", "suppression", "nms"))]
pub fn cover(graph: &mut Graph, pairs: Tensor, order: Tensor, lengths: Option<Tensor>) -> Result<Tensor, Error> {
    let [batch, tokens, _] = pairs.shape().exactly("cover: pairs", "[B, N, ceil(N / 32)]")?;
    let lengths = lengths_or_full(graph, lengths, batch, tokens);
    Ok(graph.call(Cover, &[pairs, order, lengths])?[0])
}

impl Kernel for Cover {
    fn name(&self) -> &'static str {
        "cover"
    }

    fn output_names(&self) -> &'static [&'static str] {
        &["chosen"]
    }

    fn outputs(&self, inputs: &[Desc]) -> Result<Vec<Desc>, Error> {
        let [batch, tokens] = of_pairs("cover: pairs", inputs[0])?;
        let [_, entries] = inputs[1].shape.exactly("cover: order", "[B, M]")?;
        expect("cover: order", inputs[1], Desc::new([batch, entries], Elem::U32))?;
        expect("cover: lengths", inputs[2], Desc::new([batch], Elem::U32))?;
        Ok(vec![Desc::new([batch, tokens], Elem::U32)])
    }

    fn reference(&self, inputs: &[&HostTensor]) -> Vec<HostTensor> {
        let [batch, tokens, words] = inputs[0].dims();
        let [_, entries] = inputs[1].dims();
        let row = |b: usize| {
            let pairs = &inputs[0].integers()[b * tokens * words..][..tokens * words];
            let order = &inputs[1].integers()[b * entries..][..entries];
            reference::cover(pairs, tokens, order, inputs[2].integers()[b] as usize)
        };
        vec![HostTensor::u32([batch as u32, tokens as u32], (0..batch).flat_map(row).collect())]
    }

    fn batched_inputs(&self, _inputs: &[Desc]) -> Option<Vec<bool>> {
        Some(vec![true; 3])
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<(), Error> {
        let [batch, tokens] = of_pairs("cover: pairs", lowering.input(0))?;
        let [_, entries] = lowering.input(1).shape.exactly("cover: order", "[B, M]")?;
        if tokens == 0 {
            return Ok(());
        }
        let words = u64::from(tokens.div_ceil(32));
        let covered = lowering.scratch(u64::from(batch) * words, Elem::U32);
        // The first dispatch also clears every token.
        let clears = u64::from(tokens.div_ceil(128)).min(50_000);
        let steps_each = steps_of_dispatch(words.div_ceil(128) + 1 + clears / u64::from(MOST_STEPS)).min(MOST_STEPS);
        let dispatches = entries.div_ceil(steps_each).max(1);
        for first in (0..dispatches).map(|dispatch| dispatch * steps_each) {
            lowering.dispatch(Call {
                shader: &COVER,
                header: Header::U32,
                constants: &[],
                slots: &[Slot::Input(0), Slot::Input(1), Slot::Input(2), Slot::Output(0), covered],
                params: Params { batch, tokens, entries, first, last: first.saturating_add(steps_each).min(entries) },
                groups: u64::from(batch),
            })?;
        }
        Ok(())
    }
}
