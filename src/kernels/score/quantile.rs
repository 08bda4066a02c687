//! Order statistics of scores.

use crate::checks::expect;
use crate::compare::Comparison;
use crate::device::{BindingElem, Call, Header, Include, Lowering, Shader, Slot, params};
use crate::error::Error;
use crate::graph::{Graph, Kernel, Tensor};
use crate::kernels::operands::lengths_or_full;
use crate::kernels::{Order, TopK, TopKInputs};
use crate::reference;
use crate::tensor::{Desc, Elem, HostTensor};

params! {
    struct Params {
        /// Of the result.
        elements: u32,
        entries: u32,
        quantiles_of_row: u32,
        fence: u32,
        factor: f32,
    }
}

pub(super) static QUANTILE: Shader = Shader {
    name: "quantile",
    source: include_str!("../../../shaders/score/quantile.wgsl"),
    includes: &[Include::Wide],
    headers: &[Header::F32],
    inputs: &[("sorted", BindingElem::F32), ("lengths", BindingElem::U32), ("probabilities", BindingElem::U32)],
    outputs: &[("quantiles", BindingElem::F32)],
    params: Params::NAMES,
    tunings: &[&[]],
};

/// A probability of 1, as the kernel has it.
const WHOLE: f64 = (1u64 << 63) as f64;

/// Quantiles of sorted rows, or their fences.
#[derive(Debug, Clone, Copy)]
struct Quantile {
    /// Of a fence.
    factor: Option<f32>,
}

/// The quantiles of each row of scores: f32 `[B, Q]` for Q probabilities in 0..=1.
///
/// `quantile_p` is the entry at position `p (n - 1)` of the n live ones in ascending order. Where the position is fractional, it
/// is interpolated linearly between the two nearest, as in NumPy and PyTorch. 0, 0.5 and 1 give the minimum, the median and the
/// maximum.
///
/// The position is found in whole numbers, whatever n. A probability is the shortest decimal of its float: 0.9 means 9 / 10.
///
/// `scores` is f32, f16 or bf16 `[B, N]`; `lengths` is u32 `[B]`, all N for `None`. NaN counts as larger than every number. A row of no
/// entries gives 0. Between two entries, one of them not finite, the result is open.
///
/// Cost: a [`TopK`] of the whole row, and one small dispatch.
///
/// ```
/// use tokenpress::kernels::quantile;
/// use tokenpress::{Elem, Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// let scores = graph.input("scores", [1, 4], Elem::F32);
/// let quartiles = quantile(&mut graph, scores, &[0.25, 0.75], None)?;
/// graph.output("quartiles", quartiles)?;
/// let scores = HostTensor::f32([1, 4], vec![8.0, 1.0, 4.0, 2.0]);
/// let out = graph.run_reference(&[("scores".to_owned(), scores)].into())?;
/// assert_eq!(out["quartiles"].floats(), [1.75, 5.0]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[doc(alias("percentile", "median"))]
pub fn quantile(graph: &mut Graph, scores: Tensor, probabilities: &[f32], lengths: Option<Tensor>) -> Result<Tensor, Error> {
    if let Some(p) = probabilities.iter().find(|p| !(0.0..=1.0).contains(*p)) {
        return Err(Error::Value { argument: "quantile: probabilities", expected: "0 to 1".to_owned(), actual: p.to_string() });
    }
    of_sorted(graph, scores, probabilities, lengths, None)
}

/// The fence of each row of scores, f32 `[B]`: `q3 + factor (q3 - q1)`, of the [`quantile`]s at 1/4 and 3/4.
///
/// A score above the fence is an outlier. At most a quarter of a row is; of normally distributed scores 0.35 % are, for Tukey's
/// factor of 1.5. Where both quartiles are equal, they are the fence exactly. Arguments and cost are those of [`quantile`].
///
/// ```
/// use tokenpress::kernels::fence;
/// use tokenpress::{Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// let scores = graph.constant(HostTensor::f32([1, 5], vec![1.0, 2.0, 3.0, 4.0, 5.0]));
/// let above = fence(&mut graph, scores, 1.5, None)?;
/// graph.output("fence", above)?;
/// // The quartiles are 2 and 4: 4 + 1.5 (4 - 2).
/// assert_eq!(graph.run_reference(&[].into())?["fence"].floats(), [7.0]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[doc(alias("outliers", "iqr", "tukey"))]
pub fn fence(graph: &mut Graph, scores: Tensor, factor: f32, lengths: Option<Tensor>) -> Result<Tensor, Error> {
    if !(factor >= 0.0 && factor.is_finite()) {
        return Err(Error::Value { argument: "fence: factor", expected: "0 or more".to_owned(), actual: factor.to_string() });
    }
    of_sorted(graph, scores, &[0.25, 0.75], lengths, Some(factor))
}

fn of_sorted(
    graph: &mut Graph,
    scores: Tensor,
    probabilities: &[f32],
    lengths: Option<Tensor>,
    factor: Option<f32>,
) -> Result<Tensor, Error> {
    let [batch, entries] = scores.shape().exactly("quantile: scores", "[B, N]")?;
    let lengths = lengths_or_full(graph, lengths, batch, entries);
    let sort = TopK { k: entries, order: Order::Value, largest: false, complement: None, mask: false };
    let sorted = sort.build(graph, TopKInputs { lengths: Some(lengths), ..TopKInputs::new(scores) })?.values;
    let halves = |p: &f32| {
        // 0.9 is meant where 0.9 is written, not the float beside it.
        let p = p.to_string().parse().unwrap_or(f64::from(*p));
        let fixed = (p * WHOLE) as u64;
        [(fixed >> 32) as u32, fixed as u32]
    };
    let probabilities = HostTensor::u32([probabilities.len() as u32, 2], probabilities.iter().flat_map(halves).collect());
    let probabilities = graph.constant(probabilities);
    Ok(graph.call(Quantile { factor }, &[sorted, lengths, probabilities])?[0])
}

impl Quantile {
    /// One of two functions of every row's live entries.
    fn each(&self, inputs: &[&HostTensor], quantile: impl Fn(&[f32], f64) -> f64, fence: impl Fn(&[f32], f32) -> f64) -> Vec<f64> {
        let [_, entries] = inputs[0].dims();
        let sorted = inputs[0].floats();
        let of_halves = |halves: &[u32]| (u64::from(halves[0]) << 32 | u64::from(halves[1])) as f64 / WHOLE;
        let probabilities: Vec<f64> = inputs[2].integers().chunks_exact(2).map(of_halves).collect();
        let row = |(b, &live): (usize, &u32)| {
            let row = &sorted[b * entries..][..entries.min(live as usize)];
            match self.factor {
                Some(factor) => vec![fence(row, factor)],
                None => probabilities.iter().map(|&p| quantile(row, p)).collect(),
            }
        };
        inputs[1].integers().iter().enumerate().flat_map(row).collect()
    }
}

impl Kernel for Quantile {
    fn name(&self) -> &'static str {
        "quantile"
    }

    fn output_names(&self) -> &'static [&'static str] {
        &["quantiles"]
    }

    fn outputs(&self, inputs: &[Desc]) -> Result<Vec<Desc>, Error> {
        let [batch, _] = inputs[0].shape.exactly("quantile: scores", "[B, N]")?;
        expect("quantile: lengths", inputs[1], Desc::new([batch], Elem::U32))?;
        let quantiles = inputs[2].shape.dims()[0];
        Ok(vec![if self.factor.is_some() { Desc::new([batch], Elem::F32) } else { Desc::new([batch, quantiles], Elem::F32) }])
    }

    fn reference(&self, inputs: &[&HostTensor]) -> Vec<HostTensor> {
        let values = self.each(inputs, reference::quantile, reference::fence).into_iter().map(|v| v as f32).collect();
        let descs: Vec<_> = inputs.iter().map(|t| t.desc()).collect();
        let shape = self.outputs(&descs).map_or(inputs[1].shape(), |outputs| outputs[0].shape);
        vec![HostTensor::f32(shape, values)]
    }

    fn compare(&self, inputs: &[&HostTensor], expected: &[HostTensor], actual: &[HostTensor]) -> Vec<Comparison> {
        let bounds = self.each(inputs, reference::quantile_bound, reference::fence_bound);
        vec![Comparison::within(&expected[0], &actual[0], &bounds)]
    }

    fn batched_inputs(&self, _inputs: &[Desc]) -> Option<Vec<bool>> {
        Some(vec![true, true, false])
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<(), Error> {
        let [_, entries] = lowering.input(0).shape.exactly("quantile: scores", "[B, N]")?;
        let elements = lowering.output(0).shape.elements();
        lowering.dispatch(Call {
            shader: &QUANTILE,
            header: Header::F32,
            constants: &[],
            slots: &[Slot::Input(0), Slot::Input(1), Slot::Input(2), Slot::Output(0)],
            params: Params {
                elements: elements as u32,
                entries,
                quantiles_of_row: if self.factor.is_some() { 1 } else { lowering.input(2).shape.dims()[0] },
                fence: self.factor.is_some().into(),
                factor: self.factor.unwrap_or(0.0),
            },
            groups: elements.div_ceil(128),
        })
    }
}
