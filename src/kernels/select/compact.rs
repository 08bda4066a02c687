//! Prefix sum and compaction.

use crate::checks::expect;
use crate::device::{BindingElem, Call, Header, Include, Lowering, Shader, Slot, params};
use crate::error::Error;
use crate::graph::{Graph, Kernel, Tensor};
use crate::kernels::operands::lengths_or_full;
use crate::reference;
use crate::tensor::{Desc, Elem, HostTensor, NONE};

params! {
    struct Params { groups: u32, tokens: u32, chunk: u32, chunks: u32 }
}

params! {
    struct ShortParams { rows: u32, tokens: u32 }
}

/// Longest row whose tokens count the flags before them. A workgroup a row is mostly idle there, and what it costs to start one adds up
/// over many rows.
const SHORT: u32 = 64;

pub(super) static TALLY: Shader = Shader {
    name: "compact.tally",
    source: include_str!("../../../shaders/select/compact.tally.wgsl"),
    includes: &[Include::Reduce],
    headers: &[Header::U32],
    inputs: &[("flags", BindingElem::U32), ("lengths", BindingElem::U32)],
    outputs: &[("tallies", BindingElem::U32)],
    params: Params::NAMES,
    tunings: &[&[("WG", 256)]],
};

pub(super) static COMPACT: Shader = Shader {
    name: "compact",
    source: include_str!("../../../shaders/select/compact.wgsl"),
    inputs: &[("flags", BindingElem::U32), ("lengths", BindingElem::U32), ("tallies", BindingElem::U32)],
    outputs: &[("indices", BindingElem::U32), ("counts", BindingElem::U32), ("ranks", BindingElem::U32)],
    ..TALLY
};

pub(super) static SHORT_ROWS: Shader = Shader {
    name: "compact.short",
    source: include_str!("../../../shaders/select/compact.short.wgsl"),
    includes: &[],
    inputs: &[("flags", BindingElem::U32), ("lengths", BindingElem::U32)],
    params: ShortParams::NAMES,
    tunings: &[&[]],
    ..COMPACT
};

/// What [`compact`] gives.
#[derive(Debug, Clone, Copy)]
pub struct Compacted {
    /// `[B, N]` u32: the tokens whose flag is set, in ascending index, [`NONE`] after the last.
    pub indices: Tensor,
    /// `[B]` u32: how many they are.
    pub counts: Tensor,
    /// `[B, N]` u32: how many flags before it are set, which is a token's place in `indices`; [`NONE`] where its own
    /// is not set.
    pub ranks: Tensor,
}

/// Lists the set flags of each row, and the place of each in the list: an exclusive prefix sum.
///
/// `flags` is u32 `[B, N]`, and anything but 0 is set. `lengths` is u32 `[B]`, all N for `None`: tokens after a row's live ones
/// are not set.
///
/// Cost: rows of up to 4096 tokens take one dispatch; up to 64, many rows share a workgroup. Longer rows take a second dispatch,
/// which counts chunks first, so that a long row is not one workgroup's work. Two or three reads of the flags, one write of each
/// output. Workspace: 4 bytes for each 4096 tokens.
///
/// ```
/// use tokenpress::kernels::compact;
/// use tokenpress::{Graph, HostTensor, NONE};
///
/// let mut graph = Graph::new();
/// let flags = graph.constant(HostTensor::u32([1, 4], vec![0, 1, 1, 0]));
/// let compacted = compact(&mut graph, flags, None)?;
/// graph.output("indices", compacted.indices)?;
/// graph.output("ranks", compacted.ranks)?;
/// let out = graph.run_reference(&[].into())?;
/// assert_eq!(out["indices"].integers(), [1, 2, NONE, NONE]);
/// assert_eq!(out["ranks"].integers(), [NONE, 0, 1, NONE]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[doc(alias("nonzero", "prefix_sum", "scan", "cumsum", "stream_compaction", "masked_select"))]
pub fn compact(graph: &mut Graph, flags: Tensor, lengths: Option<Tensor>) -> Result<Compacted, Error> {
    let [batch, tokens] = flags.shape().exactly("compact: flags", "[B, N]")?;
    let lengths = lengths_or_full(graph, lengths, batch, tokens);
    let outputs = graph.call(Compact, &[flags, lengths])?;
    Ok(Compacted { indices: outputs[0], counts: outputs[1], ranks: outputs[2] })
}

#[derive(Debug)]
struct Compact;

impl Kernel for Compact {
    fn name(&self) -> &'static str {
        "compact"
    }

    fn output_names(&self) -> &'static [&'static str] {
        &["indices", "counts", "ranks"]
    }

    fn outputs(&self, inputs: &[Desc]) -> Result<Vec<Desc>, Error> {
        let [batch, tokens] = inputs[0].shape.exactly("compact: flags", "[B, N]")?;
        expect("compact: flags", inputs[0], Desc::new([batch, tokens], Elem::U32))?;
        expect("compact: lengths", inputs[1], Desc::new([batch], Elem::U32))?;
        let list = Desc::new([batch, tokens], Elem::U32);
        Ok(vec![list, Desc::new([batch], Elem::U32), list])
    }

    fn reference(&self, inputs: &[&HostTensor]) -> Vec<HostTensor> {
        let [batch, tokens] = inputs[0].dims();
        let (mut indices, mut counts, mut ranks) = (vec![NONE; batch * tokens], vec![0; batch], vec![NONE; batch * tokens]);
        for row in 0..batch {
            let live = (inputs[1].integers()[row] as usize).min(tokens);
            let (list, places) = reference::compact(&inputs[0].integers()[row * tokens..][..live]);
            indices[row * tokens..][..list.len()].copy_from_slice(&list);
            ranks[row * tokens..][..live].copy_from_slice(&places);
            counts[row] = list.len() as u32;
        }
        let shape = [batch as u32, tokens as u32];
        vec![HostTensor::u32(shape, indices), HostTensor::u32([shape[0]], counts), HostTensor::u32(shape, ranks)]
    }

    fn batched_inputs(&self, _inputs: &[Desc]) -> Option<Vec<bool>> {
        Some(vec![true, true])
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<(), Error> {
        let [batch, tokens] = lowering.input(0).shape.exactly("compact: flags", "[B, N]")?;
        if tokens <= SHORT {
            return lowering.dispatch(Call {
                shader: &SHORT_ROWS,
                header: Header::U32,
                constants: SHORT_ROWS.tunings[0],
                slots: &[Slot::Input(0), Slot::Input(1), Slot::Output(0), Slot::Output(1), Slot::Output(2)],
                params: ShortParams { rows: batch, tokens },
                groups: (u64::from(batch) * u64::from(tokens.max(1))).div_ceil(128),
            });
        }
        // At most 1024 tallies a row while chunks are small, since every workgroup of a row adds all of them.
        let chunk = tokens.div_ceil(1024).next_multiple_of(4096).max(4096);
        let chunks = tokens.div_ceil(chunk);
        let groups = u64::from(batch) * u64::from(chunks);
        let params = Params { groups: groups as u32, tokens, chunk, chunks };
        let tallies = lowering.scratch(groups, Elem::U32);
        if chunks > 1 {
            lowering.dispatch(Call {
                shader: &TALLY,
                header: Header::U32,
                constants: TALLY.tunings[0],
                slots: &[Slot::Input(0), Slot::Input(1), tallies],
                params,
                groups,
            })?;
        }
        lowering.dispatch(Call {
            shader: &COMPACT,
            header: Header::U32,
            constants: COMPACT.tunings[0],
            slots: &[Slot::Input(0), Slot::Input(1), tallies, Slot::Output(0), Slot::Output(1), Slot::Output(2)],
            params,
            groups,
        })
    }
}
