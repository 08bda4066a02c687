//! From a match to a map of tokens.

use super::bipartite_match::{list, list_of};
use super::{Kernel, Partition, expect, lengths_or_full};
use crate::error::Error;
use crate::gpu::{BindingElem, Call, Header, Include, Lowering, Shader, Slot, params};
use crate::graph::{Graph, Tensor};
use crate::reference::{self, Assign};
use crate::tensor::{Desc, Elem, HostTensor};

params! {
    struct DestinationParams {
        batch: u32,
        tokens: u32,
        outputs: u32,
        source_count: u32,
        destination_count: u32,
        source_stride: u32,
        destination_stride: u32,
        selected_count: u32,
        interleave: u32,
    }
}

params! {
    struct SourceParams {
        entries: u32,
        tokens: u32,
        outputs: u32,
        source_count: u32,
        destination_count: u32,
        source_stride: u32,
        selected_count: u32,
        unmerged_count: u32,
        interleave: u32,
    }
}

pub(super) static DESTINATIONS: Shader = Shader {
    name: "assign_tokens",
    source: include_str!("../../shaders/assign_tokens.wgsl"),
    includes: &[Include::Reduce],
    headers: &[Header::U32],
    inputs: &[("sources", BindingElem::U32), ("destinations", BindingElem::U32), ("lengths", BindingElem::U32), ("kept", BindingElem::U32)],
    outputs: &[
        ("rows", BindingElem::U32),
        ("parent", BindingElem::U32),
        ("representative", BindingElem::U32),
        ("lengths_out", BindingElem::U32),
    ],
    params: DestinationParams::NAMES,
    tunings: &[&[]],
};

pub(super) static SOURCES: Shader = Shader {
    name: "assign_tokens.sources",
    source: include_str!("../../shaders/assign_tokens.sources.wgsl"),
    includes: &[],
    headers: &[Header::U32],
    inputs: &[
        ("sources", BindingElem::U32),
        ("partner", BindingElem::U32),
        ("selected", BindingElem::U32),
        ("unmerged", BindingElem::U32),
        ("rows", BindingElem::U32),
    ],
    outputs: &[("parent", BindingElem::U32), ("representative", BindingElem::U32)],
    params: SourceParams::NAMES,
    tunings: &[&[]],
};

/// Says where every token goes once it is known which sources merge.
///
/// The output is `[unmerged sources.., destinations..]`, the former in the order in which they come, the latter in that of their list.
/// A source that merges goes where its partner went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AssignTokens {
    /// Capacity N of the input.
    pub tokens: u32,
    /// Capacity N' of the output. Rows beyond it do not exist: their tokens are dropped.
    pub outputs: u32,
    /// ToMe's order with a distillation token: the first unmerged source, the first destination, the other unmerged
    /// sources, the other destinations.
    pub interleave: bool,
}

/// What [`AssignTokens::assign`] needs.
#[derive(Debug, Clone, Copy)]
pub struct AssignInputs {
    /// Positions of sources `[Ns]` or `[B, Ns]` and destinations `[Nd]` or `[B, Nd]`; no position twice in a row's lists.
    pub partition: Partition,
    /// Live tokens, u32 `[B]`; all N for `None`. Entries of the partition at or behind it are dead.
    pub lengths: Option<Tensor>,
    /// Destination of each source as an index into the list of destinations, u32 `[B, Ns]`.
    pub partner: Tensor,
    /// Sources that merge, as indices into the list of sources, u32 `[B, R]`; [`NONE`](crate::NONE) behind.
    pub selected: Tensor,
    /// Sources that stay, likewise, in output order, u32 `[B, U]`; [`NONE`](crate::NONE) behind.
    pub unmerged: Tensor,
    /// How many of `selected` there are, u32 `[B]`.
    pub kept: Tensor,
}

/// What [`AssignTokens::assign`] gives.
#[derive(Debug, Clone, Copy)]
pub struct Assignment {
    /// Output row of each token, u32 `[B, N]`; [`NONE`](crate::NONE) for dead tokens and those that are in neither list.
    pub parent: Tensor,
    /// Token that stands for each output row, u32 `[B, N']`: the unmerged source or the destination;
    /// [`NONE`](crate::NONE) behind the live ones.
    pub representative: Tensor,
    /// Output rows, u32 `[B]`.
    pub lengths: Tensor,
}

impl AssignTokens {
    /// Adds the calls. A row has (live sources - kept) unmerged sources and its live destinations.
    ///
    /// A selected source without a partner goes nowhere. Cost: two dispatches; every list is read once or twice, every output
    /// written once or twice.
    pub fn assign(self, graph: &mut Graph, inputs: AssignInputs) -> Result<Assignment, Error> {
        let AssignInputs { partition, lengths, partner, selected, unmerged, kept } = inputs;
        let [batch, _] = partner.shape().exactly("assign_tokens: partner", "[B, Ns]")?;
        let lengths = lengths_or_full(graph, lengths, batch, self.tokens);
        let outputs = graph.call(self, &[partition.sources, partition.destinations, lengths, partner, selected, unmerged, kept])?;
        Ok(Assignment { parent: outputs[0], representative: outputs[1], lengths: outputs[2] })
    }
}

impl Kernel for AssignTokens {
    fn name(&self) -> &'static str {
        "assign_tokens"
    }

    fn output_names(&self) -> &'static [&'static str] {
        &["parent", "representative", "lengths"]
    }

    fn outputs(&self, inputs: &[Desc]) -> Result<Vec<Desc>, Error> {
        let [batch, _] = inputs[3].shape.exactly("assign_tokens: partner", "[B, Ns]")?;
        let (sources, _) = list("assign_tokens: sources", inputs[0], batch)?;
        list("assign_tokens: destinations", inputs[1], batch)?;
        expect("assign_tokens: lengths", inputs[2], Desc::new([batch], Elem::U32))?;
        expect("assign_tokens: partner", inputs[3], Desc::new([batch, sources], Elem::U32))?;
        for (argument, desc) in [("assign_tokens: selected", inputs[4]), ("assign_tokens: unmerged", inputs[5])] {
            let [_, entries] = desc.shape.exactly(argument, "[B, entries]")?;
            expect(argument, desc, Desc::new([batch, entries], Elem::U32))?;
        }
        expect("assign_tokens: kept", inputs[6], Desc::new([batch], Elem::U32))?;
        Ok([[batch, self.tokens], [batch, self.outputs]]
            .map(|shape| Desc::new(shape, Elem::U32))
            .into_iter()
            .chain([Desc::new([batch], Elem::U32)])
            .collect())
    }

    fn reference(&self, inputs: &[&HostTensor]) -> Vec<HostTensor> {
        let [batch, _] = inputs[3].dims();
        let (mut parent, mut representative, mut lengths) = (Vec::new(), Vec::new(), Vec::new());
        for b in 0..batch {
            let assign = Assign {
                sources: list_of(inputs[0], b),
                destinations: list_of(inputs[1], b),
                live: inputs[2].integers()[b],
                partner: list_of(inputs[3], b),
                selected: list_of(inputs[4], b),
                unmerged: list_of(inputs[5], b),
                kept: inputs[6].integers()[b],
                tokens: self.tokens,
                outputs: self.outputs,
                interleave: self.interleave,
            };
            let (parents, representatives, length) = reference::assign_tokens(&assign);
            parent.extend(parents);
            representative.extend(representatives);
            lengths.push(length);
        }
        let batch = batch as u32;
        vec![
            HostTensor::u32([batch, self.tokens], parent),
            HostTensor::u32([batch, self.outputs], representative),
            HostTensor::u32([batch], lengths),
        ]
    }

    fn batched_inputs(&self, inputs: &[Desc]) -> Option<Vec<bool>> {
        let of_row = |i: usize| inputs[i].shape.dims().len() == 2;
        Some(vec![of_row(0), of_row(1), true, true, true, true, true])
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<(), Error> {
        let [batch, selected_count] = lowering.input(4).shape.exactly("assign_tokens: selected", "[B, R]")?;
        let [_, unmerged_count] = lowering.input(5).shape.exactly("assign_tokens: unmerged", "[B, U]")?;
        let (source_count, source_stride) = list("assign_tokens: sources", lowering.input(0), batch)?;
        let (destination_count, destination_stride) = list("assign_tokens: destinations", lowering.input(1), batch)?;
        let rows = lowering.scratch(u64::from(batch) * (u64::from(destination_count) + 3), Elem::U32);
        let interleave = u32::from(self.interleave);
        lowering.dispatch(Call {
            shader: &DESTINATIONS,
            header: Header::U32,
            constants: &[],
            slots: &[
                Slot::Input(0),
                Slot::Input(1),
                Slot::Input(2),
                Slot::Input(6),
                rows,
                Slot::Output(0),
                Slot::Output(1),
                Slot::Output(2),
            ],
            params: DestinationParams {
                batch,
                tokens: self.tokens,
                outputs: self.outputs,
                source_count,
                destination_count,
                source_stride,
                destination_stride,
                selected_count,
                interleave,
            },
            groups: u64::from(batch),
        })?;
        let entries = u64::from(batch) * (u64::from(selected_count) + u64::from(unmerged_count));
        lowering.dispatch(Call {
            shader: &SOURCES,
            header: Header::U32,
            constants: &[],
            slots: &[Slot::Input(0), Slot::Input(3), Slot::Input(4), Slot::Input(5), rows, Slot::Output(0), Slot::Output(1)],
            params: SourceParams {
                entries: entries as u32,
                tokens: self.tokens,
                outputs: self.outputs,
                source_count,
                destination_count,
                source_stride,
                selected_count,
                unmerged_count,
                interleave,
            },
            groups: entries.div_ceil(128),
        })
    }
}
