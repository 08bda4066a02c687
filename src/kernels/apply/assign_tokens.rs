//! From a match to a map of tokens.

use crate::checks::expect;
use crate::device::{BindingElem, Call, Header, Include, Lowering, Shader, Slot, params};
use crate::error::Error;
use crate::graph::{Graph, Kernel, Tensor};
use crate::kernels::Partition;
use crate::kernels::operands::{alone, lengths_or_full, list, list_of, team};
use crate::reference::{self, Assign};
use crate::tensor::{Desc, Elem, HostTensor};

params! {
    struct Params {
        batch: u32,
        tokens: u32,
        outputs: u32,
        source_count: u32,
        destination_count: u32,
        /// From one batch row's list to the next: 0 or the count.
        source_stride: u32,
        destination_stride: u32,
        /// Capacity of the list.
        unmerged_count: u32,
        interleave: u32,
    }
}

pub(super) static ASSIGN_TOKENS: Shader = Shader {
    name: "assign_tokens",
    source: include_str!("../../../shaders/apply/assign_tokens.wgsl"),
    includes: &[Include::Reduce, Include::Team],
    headers: &[Header::U32],
    inputs: &[
        ("sources", BindingElem::U32),
        ("destinations", BindingElem::U32),
        ("lengths", BindingElem::U32),
        ("partner", BindingElem::U32),
        ("unmerged", BindingElem::U32),
    ],
    outputs: &[("parent", BindingElem::AtomicU32), ("representative", BindingElem::U32), ("lengths_out", BindingElem::U32)],
    params: Params::NAMES,
    tunings: &[&[]],
};

/// An invocation for a row.
pub(super) static ASSIGN_TOKENS_ALONE: Shader = Shader { name: "assign_tokens.alone", includes: &[Include::Alone], ..ASSIGN_TOKENS };

/// Says where every token goes once it is known which sources merge.
///
/// The output is `[unmerged sources.., destinations..]`. Unmerged sources stand in the order in which they come, destinations in
/// that of their list. A source that merges goes where its partner went.
///
/// Cost: one dispatch of one workgroup a batch row, or one invocation of a short one. Every list is read once or twice, every
/// output written once or twice.
///
/// ```
/// use tokenpress::kernels::{AssignInputs, AssignTokens, Partition};
/// use tokenpress::{Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// // Sources are tokens 0 and 2, destinations 1 and 3. Token 0 merges into token 3, token 2 stays.
/// let partition = Partition::even_odd(&mut graph, 4);
/// let partner = graph.constant(HostTensor::u32([1, 2], vec![1, 0]));
/// let unmerged = graph.constant(HostTensor::u32([1, 1], vec![1]));
/// let assign = AssignTokens { tokens: 4, outputs: 3, interleave: false };
/// let assigned = assign.build(&mut graph, AssignInputs { partition, lengths: None, partner, unmerged })?;
/// graph.output("parent", assigned.parent)?;
/// graph.output("representative", assigned.representative)?;
/// let out = graph.run_reference(&[].into())?;
/// assert_eq!(out["parent"].integers(), [2, 1, 0, 2]);
/// assert_eq!(out["representative"].integers(), [2, 1, 3]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
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

/// What [`AssignTokens::build`] needs.
#[derive(Debug, Clone, Copy)]
pub struct AssignInputs {
    /// Positions of sources `[Ns]` or `[B, Ns]`, and of destinations `[Nd]` or `[B, Nd]`.
    ///
    /// A position that is listed several times has the lowest of its rows as a destination, or else as an unmerged source, or
    /// else as one that merges.
    pub partition: Partition,
    /// Live tokens, u32 `[B]`; all N for `None`. Entries of the partition at or after it are dead.
    pub lengths: Option<Tensor>,
    /// Destination of each source as an index into the list of destinations, u32 `[B, Ns]`.
    pub partner: Tensor,
    /// Sources that stay, as indices into the list of sources, in output order, u32 `[B, U]`; [`NONE`](crate::NONE) after the last. All
    /// other live ones merge.
    pub unmerged: Tensor,
}

/// What [`AssignTokens::build`] gives.
#[derive(Debug, Clone, Copy)]
pub struct Assignment {
    /// Output row of each token, u32 `[B, N]`; [`NONE`](crate::NONE) for dead tokens and those that are in neither list.
    pub parent: Tensor,
    /// Token that stands for each output row, u32 `[B, N']`: the unmerged source or the destination;
    /// [`NONE`](crate::NONE) after the live ones.
    pub representative: Tensor,
    /// Output rows, u32 `[B]`.
    pub lengths: Tensor,
}

impl AssignTokens {
    /// Adds the call. An output row has its unmerged sources and its live destinations. A source that merges without a partner
    /// goes nowhere.
    pub fn build(self, graph: &mut Graph, inputs: AssignInputs) -> Result<Assignment, Error> {
        let AssignInputs { partition, lengths, partner, unmerged } = inputs;
        let [batch, _] = partner.shape().exactly("assign_tokens: partner", "[B, Ns]")?;
        let lengths = lengths_or_full(graph, lengths, batch, self.tokens);
        let outputs = graph.call(self, &[partition.sources, partition.destinations, lengths, partner, unmerged])?;
        Ok(Assignment { parent: outputs[0], representative: outputs[1], lengths: outputs[2] })
    }

    /// The old name of `build`.
    #[deprecated(note = "it is `build` now, as everywhere")]
    pub fn assign(self, graph: &mut Graph, inputs: AssignInputs) -> Result<Assignment, Error> {
        self.build(graph, inputs)
    }
}

impl Kernel for AssignTokens {
    fn name(&self) -> &'static str {
        "assign_tokens"
    }

    fn output_names(&self) -> &'static [&'static str] {
        &["parent", "representative", "lengths"]
    }

    fn input_count(&self) -> std::ops::RangeInclusive<usize> {
        5..=5
    }

    fn outputs(&self, inputs: &[Desc]) -> Result<Vec<Desc>, Error> {
        let [batch, _] = inputs[3].shape.exactly("assign_tokens: partner", "[B, Ns]")?;
        let (sources, _) = list("assign_tokens: sources", inputs[0], batch)?;
        list("assign_tokens: destinations", inputs[1], batch)?;
        expect("assign_tokens: lengths", inputs[2], Desc::new([batch], Elem::U32))?;
        expect("assign_tokens: partner", inputs[3], Desc::new([batch, sources], Elem::U32))?;
        let [_, entries] = inputs[4].shape.exactly("assign_tokens: unmerged", "[B, U]")?;
        expect("assign_tokens: unmerged", inputs[4], Desc::new([batch, entries], Elem::U32))?;
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
                unmerged: list_of(inputs[4], b),
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
        Some(vec![of_row(0), of_row(1), true, true, true])
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<(), Error> {
        let [batch, unmerged_count] = lowering.input(4).shape.exactly("assign_tokens: unmerged", "[B, U]")?;
        let (source_count, source_stride) = list("assign_tokens: sources", lowering.input(0), batch)?;
        let (destination_count, destination_stride) = list("assign_tokens: destinations", lowering.input(1), batch)?;
        let [sources, destinations, lengths, partner, unmerged] = std::array::from_fn(Slot::Input);
        let entries = [self.tokens, self.outputs, source_count, destination_count, unmerged_count].into_iter().fold(0, u32::saturating_add);
        let (shader, groups) = team(alone(entries, entries.into(), 0), &ASSIGN_TOKENS, &ASSIGN_TOKENS_ALONE, batch.into());
        lowering.dispatch(Call {
            shader,
            header: Header::U32,
            constants: &[],
            slots: &[sources, destinations, lengths, partner, unmerged, Slot::Output(0), Slot::Output(1), Slot::Output(2)],
            params: Params {
                batch,
                tokens: self.tokens,
                outputs: self.outputs,
                source_count,
                destination_count,
                source_stride,
                destination_stride,
                unmerged_count,
                interleave: u32::from(self.interleave),
            },
            groups,
        })
    }
}
