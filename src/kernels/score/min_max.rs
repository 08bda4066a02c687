//! Scores brought between 0 and 1.

use crate::checks::expect;
use crate::compare::Comparison;
use crate::device::{BindingElem, Call, Header, Lowering, Shader, Slot, params};
use crate::error::Error;
use crate::graph::{Graph, Kernel, Tensor};
use crate::kernels::operands::lengths_or_full;
use crate::kernels::{Statistic, reduce};
use crate::reference::{self, Range};
use crate::tensor::{Desc, Elem, HostTensor};

params! {
    struct Params {
        elements: u32,
        tokens: u32,
        /// From one batch row's lowest to the next: 0 or 1.
        range_stride: u32,
        descending: u32,
        offset: f32,
        epsilon: f32,
    }
}

pub(super) static MIN_MAX: Shader = Shader {
    name: "min_max",
    source: include_str!("../../../shaders/score/min_max.wgsl"),
    includes: &[],
    headers: &[Header::F32],
    inputs: &[("x", BindingElem::F32), ("lowest", BindingElem::F32), ("highest", BindingElem::F32), ("lengths", BindingElem::U32)],
    outputs: &[("y", BindingElem::F32)],
    params: Params::NAMES,
    tunings: &[&[]],
};

/// Brings the scores of each row between 0 and 1.
///
/// ```text
/// y_i = (x_i - min x + offset) / (max x - min x + epsilon)          descending: (max x - x_i + offset) / ..
/// ```
///
/// Where the divisor is 0, every score becomes 1: all of them are equal, and there is no epsilon.
///
/// Cost: three dispatches, two more over the batch; three reads and one write of the scores.
///
/// ```
/// use tokenpress::kernels::MinMax;
/// use tokenpress::{Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// let scores = graph.constant(HostTensor::f32([1, 3], vec![2.0, 6.0, 4.0]));
/// let y = MinMax::default().build(&mut graph, scores, None)?;
/// graph.output("y", y)?;
/// assert_eq!(graph.run_reference(&[].into())?["y"].floats(), [0.0, 1.0, 0.5]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[doc(alias("normalize", "min_max_scaling", "rescale"))]
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct MinMax {
    /// The highest score becomes 0 and the lowest 1.
    pub descending: bool,
    /// Minimum and maximum are those of the whole batch. A row then no longer gets what it would get alone.
    pub over_batch: bool,
    /// Added to the dividend.
    pub offset: f32,
    /// Added to the divisor.
    pub epsilon: f32,
}

impl MinMax {
    /// Adds the calls: f32 `[B, N]` from `scores`, f32 `[B, N]`. Behind the live tokens stands 0 (`lengths` u32 `[B]`, all N for
    /// `None`).
    ///
    /// Minimum and maximum skip NaN, unlike PyTorch's, on purpose. A score that is NaN stays NaN.
    pub fn build(self, graph: &mut Graph, scores: Tensor, lengths: Option<Tensor>) -> Result<Tensor, Error> {
        let [batch, tokens] = scores.shape().exactly("min_max: scores", "[B, N]")?;
        let lengths = lengths_or_full(graph, lengths, batch, tokens);
        let mut inputs = vec![scores];
        for statistic in [Statistic::Min, Statistic::Max] {
            let of_rows = reduce(graph, scores, 1, statistic, Some(lengths))?;
            inputs.push(if self.over_batch { reduce(graph, of_rows, 0, statistic, None)? } else { of_rows });
        }
        inputs.push(lengths);
        Ok(graph.call(self, &inputs)?[0])
    }

    /// The old name of `build`.
    #[deprecated(note = "it is `build` now, as everywhere")]
    pub fn apply(self, graph: &mut Graph, scores: Tensor, lengths: Option<Tensor>) -> Result<Tensor, Error> {
        self.build(graph, scores, lengths)
    }

    /// A value for every score, from the score and its row's range; 0 for dead ones.
    fn each(&self, inputs: &[&HostTensor], value: impl Fn(f32, &Range) -> f64) -> Vec<f64> {
        let [_, tokens] = inputs[0].dims();
        let (lowest, highest, lengths) = (inputs[1].floats(), inputs[2].floats(), inputs[3].integers());
        let of = |(at, score): (usize, &f32)| {
            let (row, token) = (at / tokens, at % tokens);
            let of_row = if lowest.len() == lengths.len() { row } else { 0 };
            let range = Range {
                lowest: lowest[of_row],
                highest: highest[of_row],
                descending: self.descending,
                offset: self.offset,
                epsilon: self.epsilon,
            };
            if token < lengths[row] as usize { value(*score, &range) } else { 0.0 }
        };
        inputs[0].floats().iter().enumerate().map(of).collect()
    }
}

impl Kernel for MinMax {
    fn name(&self) -> &'static str {
        "min_max"
    }

    fn output_names(&self) -> &'static [&'static str] {
        &["y"]
    }

    fn input_count(&self) -> std::ops::RangeInclusive<usize> {
        4..=4
    }

    fn outputs(&self, inputs: &[Desc]) -> Result<Vec<Desc>, Error> {
        let [batch, tokens] = inputs[0].shape.exactly("min_max: scores", "[B, N]")?;
        expect("min_max: scores", inputs[0], Desc::new([batch, tokens], Elem::F32))?;
        let ranges = Desc::new([if self.over_batch { 1 } else { batch }], Elem::F32);
        expect("min_max: lowest", inputs[1], ranges)?;
        expect("min_max: highest", inputs[2], ranges)?;
        expect("min_max: lengths", inputs[3], Desc::new([batch], Elem::U32))?;
        Ok(vec![inputs[0]])
    }

    fn reference(&self, inputs: &[&HostTensor]) -> Vec<HostTensor> {
        let values = self.each(inputs, reference::min_max).into_iter().map(|y| y as f32).collect();
        vec![HostTensor::f32(inputs[0].shape(), values)]
    }

    fn compare(&self, inputs: &[&HostTensor], expected: &[HostTensor], actual: &[HostTensor]) -> Vec<Comparison> {
        vec![Comparison::within(&expected[0], &actual[0], &self.each(inputs, reference::min_max_bound))]
    }

    fn batched_inputs(&self, _inputs: &[Desc]) -> Option<Vec<bool>> {
        Some(vec![true, !self.over_batch, !self.over_batch, true])
    }

    fn flops(&self, inputs: &[Desc]) -> u64 {
        3 * inputs[0].shape.elements()
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<(), Error> {
        let [_, tokens] = lowering.input(0).shape.exactly("min_max: scores", "[B, N]")?;
        let elements = lowering.input(0).shape.elements();
        lowering.dispatch(Call {
            shader: &MIN_MAX,
            header: Header::F32,
            constants: &[],
            slots: &[Slot::Input(0), Slot::Input(1), Slot::Input(2), Slot::Input(3), Slot::Output(0)],
            params: Params {
                elements: elements as u32,
                tokens,
                range_stride: u32::from(!self.over_batch),
                descending: u32::from(self.descending),
                offset: self.offset,
                epsilon: self.epsilon,
            },
            groups: elements.div_ceil(128),
        })
    }
}
