//! Pairs of tokens from lists, as bits.

use crate::checks::expect;
use crate::device::{BindingElem, Call, Header, Lowering, Shader, Slot, params};
use crate::error::Error;
use crate::graph::{Graph, Kernel, Tensor};
use crate::kernels::operands::lengths_or_full;
use crate::reference;
use crate::tensor::{Desc, Elem, HostTensor, Shape};

params! {
    struct Params {
        /// Words, or entries of the whole batch.
        total: u32,
        tokens: u32,
        /// Of a batch row.
        entries: u32,
    }
}

pub(super) static LINK_PAIRS: Shader = Shader {
    name: "link_pairs",
    source: include_str!("../../../shaders/select/link_pairs.wgsl"),
    includes: &[],
    headers: &[Header::U32],
    inputs: &[("from_list", BindingElem::U32), ("to_list", BindingElem::U32), ("lengths", BindingElem::U32)],
    outputs: &[("pairs", BindingElem::AtomicU32)],
    params: Params::NAMES,
    tunings: &[&[("CLEAR", 1)], &[("CLEAR", 0)]],
};

/// Bits of pairs.
#[derive(Debug, Clone, Copy)]
struct LinkPairs {
    tokens: u32,
}

/// The pairs of tokens that two lists have, as bits u32 `[B, N, ceil(N / 32)]` of `tokens` tokens N, for
/// [`components`](crate::kernels::components) and [`cover`](crate::kernels::cover): `from[b, e]` and `to[b, e]` are linked in both directions.
///
/// `from` and `to` are u32 `[B, E]`. The first `lengths[b]` tokens are alive (u32 `[B]`, all for `None`). Entries of which one is no live
/// token, such as [`NONE`](crate::NONE), are skipped, and those of a token with itself.
///
/// Cost: two dispatches; one write of the pairs, one read of the lists.
///
/// ```
/// use tokenpress::kernels::link_pairs;
/// use tokenpress::{Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// let from = graph.constant(HostTensor::u32([1, 2], vec![0, 3]));
/// let to = graph.constant(HostTensor::u32([1, 2], vec![2, 2]));
/// let pairs = link_pairs(&mut graph, from, to, 4, None)?;
/// graph.output("pairs", pairs)?;
/// assert_eq!(graph.run_reference(&[].into())?["pairs"].integers(), [0b100, 0, 0b1001, 0b100]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[doc(alias("edges", "adjacency"))]
pub fn link_pairs(graph: &mut Graph, from: Tensor, to: Tensor, tokens: u32, lengths: Option<Tensor>) -> Result<Tensor, Error> {
    let [batch, _] = from.shape().exactly("link_pairs: from", "[B, E]")?;
    let lengths = lengths_or_full(graph, lengths, batch, tokens);
    Ok(graph.call(LinkPairs { tokens }, &[from, to, lengths])?[0])
}

impl Kernel for LinkPairs {
    fn name(&self) -> &'static str {
        "link_pairs"
    }

    fn output_names(&self) -> &'static [&'static str] {
        &["pairs"]
    }

    fn outputs(&self, inputs: &[Desc]) -> Result<Vec<Desc>, Error> {
        let [batch, entries] = inputs[0].shape.exactly("link_pairs: from", "[B, E]")?;
        let list = Desc::new([batch, entries], Elem::U32);
        expect("link_pairs: from", inputs[0], list)?;
        expect("link_pairs: to", inputs[1], list)?;
        expect("link_pairs: lengths", inputs[2], Desc::new([batch], Elem::U32))?;
        Ok(vec![Desc::new([batch, self.tokens, self.tokens.div_ceil(32)], Elem::U32)])
    }

    fn reference(&self, inputs: &[&HostTensor]) -> Vec<HostTensor> {
        let [batch, entries] = inputs[0].dims();
        let row = |b: usize| {
            let [from, to] = [0, 1].map(|i| &inputs[i].integers()[b * entries..][..entries]);
            reference::link_pairs(from, to, self.tokens as usize, inputs[2].integers()[b] as usize)
        };
        let shape = Shape::from([batch as u32, self.tokens, self.tokens.div_ceil(32)]);
        vec![HostTensor::u32(shape, (0..batch).flat_map(row).collect())]
    }

    fn batched_inputs(&self, _inputs: &[Desc]) -> Option<Vec<bool>> {
        Some(vec![true; 3])
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<(), Error> {
        let [batch, entries] = lowering.input(0).shape.exactly("link_pairs: from", "[B, E]")?;
        let words = lowering.output(0).shape.elements();
        let all = u64::from(batch) * u64::from(entries);
        for (constants, total) in LINK_PAIRS.tunings.iter().zip([words, all]) {
            lowering.dispatch(Call {
                shader: &LINK_PAIRS,
                header: Header::U32,
                constants,
                slots: &[Slot::Input(0), Slot::Input(1), Slot::Input(2), Slot::Output(0)],
                params: Params { total: total as u32, tokens: self.tokens, entries },
                groups: total.div_ceil(128),
            })?;
        }
        Ok(())
    }
}
