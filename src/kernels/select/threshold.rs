//! Tokens whose score passes a threshold.

use crate::checks::expect;
use crate::device::{BindingElem, Call, Header, Include, Lowering, Shader, Slot, params};
use crate::error::Error;
use crate::graph::{Graph, Kernel, Tensor};
use crate::kernels::mark;
use crate::kernels::operands::lengths_or_full;
use crate::reference;
pub use crate::reference::Relation;
use crate::tensor::{Desc, Elem, HostTensor};

params! {
    struct Params {
        elements: u32, tokens: u32, threshold_stride: u32, marks_stride: u32, among_stride: u32, below: u32, or_equal: u32,
    }
}

pub(super) static THRESHOLD: Shader = Shader {
    name: "threshold",
    source: include_str!("../../../shaders/select/threshold.wgsl"),
    includes: &[Include::Order],
    headers: &[Header::F32, Header::F16],
    inputs: &[
        ("scores", BindingElem::Elem),
        ("threshold", BindingElem::F32),
        ("lengths", BindingElem::U32),
        ("marks", BindingElem::U32),
        ("among", BindingElem::U32),
    ],
    outputs: &[("mask", BindingElem::U32)],
    params: Params::NAMES,
    tunings: &[&[]],
};

/// Marks the tokens whose score passes a threshold.
///
/// The result is a mask for [`compact`](crate::kernels::compact()). To ask for two criteria, give the mask of one threshold to
/// another as [`ThresholdInputs::among`].
///
/// Cost: one dispatch; one read of each input, one write of the mask.
///
/// ```
/// use tokenpress::kernels::{Limit, Relation, Threshold, ThresholdInputs};
/// use tokenpress::{Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// let scores = graph.constant(HostTensor::f32([1, 3], vec![0.25, 1.0, 0.5]));
/// let inputs = ThresholdInputs::new(scores, Limit::Constant(0.5));
/// let mask = Threshold { relation: Relation::AtLeast }.build(&mut graph, inputs)?;
/// graph.output("mask", mask)?;
/// assert_eq!(graph.run_reference(&[].into())?["mask"].integers(), [0, 1, 1]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[doc(alias("mask", "compare", "greater"))]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Threshold {
    /// How a score must compare with the threshold.
    pub relation: Relation,
}

/// What scores are compared with.
#[derive(Debug, Clone, Copy)]
pub enum Limit {
    /// The same number for all rows.
    Constant(f32),
    /// One number a row, f32 `[B]`.
    PerRow(Tensor),
}

/// What [`Threshold::build`] reads.
#[derive(Debug, Clone, Copy)]
pub struct ThresholdInputs {
    /// `[B, N]`, f32, f16 or bf16.
    pub scores: Tensor,
    /// What they are compared with.
    pub threshold: Limit,
    /// Live tokens of each row, u32 `[B]`; all for `None`.
    pub lengths: Option<Tensor>,
    /// A [`mark`] for each token, u32 `[N]` for all rows, or `[B, N]`. Whatever their scores, protected tokens pass and excluded
    /// ones do not.
    pub marks: Option<Tensor>,
    /// Another mask, u32 `[N]` for all rows, or `[B, N]`; any number but 0 counts as 1. Where it is 0, only protected tokens
    /// pass, whatever the scores.
    pub among: Option<Tensor>,
}

impl ThresholdInputs {
    /// Scores and what they are compared with.
    pub fn new(scores: Tensor, threshold: Limit) -> Self {
        Self { scores, threshold, lengths: None, marks: None, among: None }
    }
}

impl Threshold {
    /// Adds the call: u32 `[B, N]`, 1 for the live tokens that pass and 0 for all others.
    ///
    /// -0 equals +0. Nothing passes where the score or the threshold is NaN. f16 scores are compared as f32. The result is exact.
    pub fn build(self, graph: &mut Graph, inputs: ThresholdInputs) -> Result<Tensor, Error> {
        let [batch, tokens] = inputs.scores.shape().exactly("threshold: scores", "[B, N]")?;
        let threshold = match inputs.threshold {
            Limit::Constant(value) => graph.constant(HostTensor::f32([1], vec![value])),
            Limit::PerRow(tensor) => tensor,
        };
        let lengths = lengths_or_full(graph, inputs.lengths, batch, tokens);
        let mut all = |value| graph.filled([tokens], value);
        let marks = inputs.marks.unwrap_or_else(|| all(mark::CANDIDATE));
        let among = inputs.among.unwrap_or_else(|| all(1));
        Ok(graph.call(self, &[inputs.scores, threshold, lengths, marks, among])?[0])
    }

    /// The old name of `build`.
    #[deprecated(note = "it is `build` now, as everywhere")]
    pub fn mask(self, graph: &mut Graph, inputs: ThresholdInputs) -> Result<Tensor, Error> {
        self.build(graph, inputs)
    }
}

/// The stride from one batch row's list to the next: 0 where all share one.
fn stride(list: Desc) -> u32 {
    match *list.shape.dims() {
        [_, entries] => entries,
        _ => 0,
    }
}

/// Of a list of the batch's, that of row `b`.
fn row_of(list: &[u32], list_desc: Desc, b: usize, tokens: usize) -> &[u32] {
    &list[b * stride(list_desc) as usize..][..tokens]
}

impl Kernel for Threshold {
    fn name(&self) -> &'static str {
        "threshold"
    }

    fn output_names(&self) -> &'static [&'static str] {
        &["mask"]
    }

    fn input_count(&self) -> std::ops::RangeInclusive<usize> {
        5..=5
    }

    fn outputs(&self, inputs: &[Desc]) -> Result<Vec<Desc>, Error> {
        let [batch, tokens] = inputs[0].shape.exactly("threshold: scores", "[B, N]")?;
        if !inputs[0].elem.is_float() {
            return Err(Error::Elem { argument: "threshold: scores", expected: "f32, f16 or bf16", actual: inputs[0].elem });
        }
        let rows = if inputs[1].shape == [1].into() { 1 } else { batch };
        expect("threshold: threshold", inputs[1], Desc::new([rows], Elem::F32))?;
        expect("threshold: lengths", inputs[2], Desc::new([batch], Elem::U32))?;
        for (argument, list) in [("threshold: marks", inputs[3]), ("threshold: among", inputs[4])] {
            let shape = if list.shape.dims().len() == 1 { [tokens].into() } else { inputs[0].shape };
            expect(argument, list, Desc { shape, elem: Elem::U32 })?;
        }
        Ok(vec![Desc { shape: inputs[0].shape, elem: Elem::U32 }])
    }

    fn reference(&self, inputs: &[&HostTensor]) -> Vec<HostTensor> {
        let [batch, tokens] = inputs[0].dims();
        let (scores, limits) = (inputs[0].floats(), inputs[1].floats());
        let row = |b: usize| {
            let [marks, among] = [3, 4].map(|i| row_of(inputs[i].integers(), inputs[i].desc(), b, tokens));
            let limit = limits[b.min(limits.len() - 1)];
            reference::threshold(&scores[b * tokens..][..tokens], self.relation, limit, inputs[2].integers()[b], marks, among)
        };
        vec![HostTensor::u32(inputs[0].shape(), (0..batch).flat_map(row).collect())]
    }

    fn batched_inputs(&self, inputs: &[Desc]) -> Option<Vec<bool>> {
        let of_row = |i: usize| inputs[i].shape.dims().len() == 2;
        Some(vec![true, inputs[1].shape != [1].into(), true, of_row(3), of_row(4)])
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<(), Error> {
        let [_, tokens] = lowering.input(0).shape.exactly("threshold: scores", "[B, N]")?;
        let elements = lowering.output(0).shape.elements();
        let slots = [Slot::Input(0), Slot::Input(1), Slot::Input(2), Slot::Input(3), Slot::Input(4), Slot::Output(0)];
        lowering.dispatch(Call {
            shader: &THRESHOLD,
            header: Header::of(lowering.input(0).elem),
            constants: &[],
            slots: &slots,
            params: Params {
                elements: elements as u32,
                tokens,
                threshold_stride: u32::from(lowering.input(1).shape != [1].into()),
                marks_stride: stride(lowering.input(3)),
                among_stride: stride(lowering.input(4)),
                below: u32::from(matches!(self.relation, Relation::Below | Relation::AtMost)),
                or_equal: u32::from(matches!(self.relation, Relation::AtLeast | Relation::AtMost)),
            },
            groups: elements.div_ceil(128),
        })
    }
}
