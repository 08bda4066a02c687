//! Where the run of each token starts.

use crate::checks::expect;
use crate::device::{BindingElem::U32, Call, Header, Lowering, Shader, Slot, params};
use crate::error::Error;
use crate::graph::{Graph, Kernel, Tensor};
use crate::kernels::operands::{lengths_or_full, list, list_of};
use crate::reference;
use crate::tensor::{Desc, Elem, HostTensor};

params! {
    struct Params {
        batch: u32,
        tokens: u32,
        /// Of a workgroup, 1 where rows are longer than half a tile.
        rows: u32,
        previous_stride: u32,
        pairs: u32,
    }
}

pub(super) static RUN_SEGMENTS: Shader = Shader {
    name: "run_segments",
    source: include_str!("../../../shaders/select/run_segments.wgsl"),
    includes: &[],
    headers: &[Header::U32],
    inputs: &[("joins", U32), ("previous", U32), ("lengths", U32)],
    outputs: &[("start", U32), ("starts", U32), ("places", U32)],
    params: Params::NAMES,
    tunings: &[&[]],
};

/// Tokens that a workgroup has at a time: part of a row, or as many short rows as fit.
const TILE: u32 = 256;

/// Divides tokens into runs of those that join the one before.
///
/// Token i with `joins[b, i] != 0` continues the run of the token `previous[b, i]`. Every other token starts a run. The caller
/// says which token comes before another: its neighbour, the same place of the frame before, or any lower index.
///
/// Cost: one dispatch of one workgroup a batch row, linear in N whatever the runs are. Workspace: 4 bytes a token.
///
/// ```
/// use tokenpress::kernels::{RunSegments, previous_at};
/// use tokenpress::{Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// let joins = graph.constant(HostTensor::u32([1, 4], vec![0, 1, 1, 0]));
/// let previous = previous_at(&mut graph, 4, 1);
/// let segments = RunSegments::default().build(&mut graph, joins, previous, None)?;
/// graph.output("start", segments.start)?;
/// assert_eq!(graph.run_reference(&[].into())?["start"].integers(), [0, 0, 0, 3]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[doc(alias("segmented_scan", "run_length", "unique_consecutive"))]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct RunSegments {
    /// Segments of two at most: of a run's tokens the first two, the next two, and so on.
    ///
    /// A walk from left to right makes the same, if it merges a token with the next where it may, and goes on after both.
    pub pairs: bool,
}

/// What [`RunSegments::build`] gives.
#[derive(Debug, Clone, Copy)]
pub struct Segments {
    /// `[B, N]` u32: the first token of each token's segment; [`NONE`](crate::NONE) for dead ones.
    pub start: Tensor,
    /// `[B, N]` u32: 1 for the first token of a segment, 0 for others.
    pub starts: Tensor,
}

impl RunSegments {
    /// Adds the call.
    ///
    /// `joins` is u32 `[B, N]`, `previous` u32 `[B, N]` or `[N]`, `lengths` u32 `[B]` (all alive for `None`). A link to the token
    /// itself or to a later one ([`NONE`](crate::NONE) among them) is none. Exact.
    pub fn build(self, graph: &mut Graph, joins: Tensor, previous: Tensor, lengths: Option<Tensor>) -> Result<Segments, Error> {
        let [batch, tokens] = joins.shape().exactly("run_segments: joins", "[B, N]")?;
        let lengths = lengths_or_full(graph, lengths, batch, tokens);
        let outputs = graph.call(self, &[joins, previous, lengths])?;
        Ok(Segments { start: outputs[0], starts: outputs[1] })
    }

    /// The old name of `build`.
    #[deprecated(note = "it is `build` now, as everywhere")]
    pub fn find(self, graph: &mut Graph, joins: Tensor, previous: Tensor, lengths: Option<Tensor>) -> Result<Segments, Error> {
        self.build(graph, joins, previous, lengths)
    }
}

impl Kernel for RunSegments {
    fn name(&self) -> &'static str {
        "run_segments"
    }

    fn output_names(&self) -> &'static [&'static str] {
        &["start", "starts"]
    }

    fn input_count(&self) -> std::ops::RangeInclusive<usize> {
        3..=3
    }

    fn outputs(&self, inputs: &[Desc]) -> Result<Vec<Desc>, Error> {
        let [batch, tokens] = inputs[0].shape.exactly("run_segments: joins", "[B, N]")?;
        let of_tokens = Desc::new([batch, tokens], Elem::U32);
        expect("run_segments: joins", inputs[0], of_tokens)?;
        let (entries, _) = list("run_segments: previous", inputs[1], batch)?;
        if entries != tokens {
            let expected = format!("[{tokens}] or [{batch}, {tokens}]");
            return Err(Error::Shape { argument: "run_segments: previous", expected, actual: inputs[1].shape });
        }
        expect("run_segments: lengths", inputs[2], Desc::new([batch], Elem::U32))?;
        Ok(vec![of_tokens; 2])
    }

    fn reference(&self, inputs: &[&HostTensor]) -> Vec<HostTensor> {
        let [batch, tokens] = inputs[0].dims();
        let row = |b: usize| {
            let joins = &inputs[0].integers()[b * tokens..][..tokens];
            reference::run_segments(joins, list_of(inputs[1], b), inputs[2].integers()[b], self.pairs)
        };
        let start: Vec<u32> = (0..batch).flat_map(row).collect();
        let starts = start.iter().enumerate().map(|(i, &s)| u32::from(s as usize == i % tokens)).collect();
        let shape = inputs[0].shape();
        vec![HostTensor::u32(shape, start), HostTensor::u32(shape, starts)]
    }

    fn batched_inputs(&self, inputs: &[Desc]) -> Option<Vec<bool>> {
        Some(vec![true, inputs[1].shape.dims().len() == 2, true])
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<(), Error> {
        let [batch, tokens] = lowering.input(0).shape.exactly("run_segments: joins", "[B, N]")?;
        let (_, previous_stride) = list("run_segments: previous", lowering.input(1), batch)?;
        let places = lowering.scratch(u64::from(batch) * u64::from(tokens), Elem::U32);
        let rows = (TILE / tokens.max(1)).max(1);
        lowering.dispatch(Call {
            shader: &RUN_SEGMENTS,
            header: Header::U32,
            constants: &[],
            slots: &[Slot::Input(0), Slot::Input(1), Slot::Input(2), Slot::Output(0), Slot::Output(1), places],
            params: Params { batch, tokens, rows, previous_stride, pairs: u32::from(self.pairs) },
            groups: if tokens == 0 { 0 } else { u64::from(batch.div_ceil(rows)) },
        })
    }
}
