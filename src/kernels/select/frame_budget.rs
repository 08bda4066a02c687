//! How many tokens each frame may keep.

use crate::checks::expect;
use crate::compare::{Comparison, Worst};
use crate::device::{BindingElem, Call, Header, Include, Lowering, Shader, Slot, params};
use crate::error::Error;
use crate::graph::{Graph, Kernel, Tensor};
use crate::kernels::operands::{alone, team};
use crate::reference;
use crate::tensor::{Desc, Elem, HostTensor};

params! {
    struct Params {
        batch: u32,
        frames: u32,
        share: f32,
        /// 1 / temperature.
        sharpness: f32,
        /// Differences beyond this one have no weight.
        far: f32,
    }
}

pub(super) static FRAME_BUDGET: Shader = Shader {
    name: "frame_budget",
    source: include_str!("../../../shaders/select/frame_budget.wgsl"),
    includes: &[Include::Reduce, Include::Team, Include::Wide],
    headers: &[Header::F32],
    inputs: &[("scores", BindingElem::F32), ("sizes", BindingElem::U32)],
    outputs: &[("budgets", BindingElem::U32)],
    params: Params::NAMES,
    tunings: &[&[]],
};

/// An invocation for a row.
pub(super) static FRAME_BUDGET_ALONE: Shader =
    Shader { name: "frame_budget.alone", includes: &[Include::Alone, Include::Wide], ..FRAME_BUDGET };

/// How many tokens each frame may keep: more for those that stand out.
///
/// ```text
/// p_f      = softmax_f(-scores_f / temperature)                over the frames that have tokens
/// budget_f = round(sizes_f min(1, base (1 + p_f - mean p)))    halves to even, at least 1
/// ```
///
/// These are the budgets of VidCom2, `https://arxiv.org/abs/2505.14454`. Their sum is near `base` of all tokens, and not exactly
/// that. To divide a given number, use [`Allocate`](crate::kernels::Allocate).
///
/// Cost: one dispatch, one workgroup a row, or one invocation of up to 64 frames.
///
/// ```
/// use tokenpress::kernels::FrameBudget;
/// use tokenpress::{Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// let scores = graph.constant(HostTensor::f32([1, 2], vec![0.0, 1.0]));
/// let sizes = graph.constant(HostTensor::u32([1, 2], vec![8, 8]));
/// // The first frame stands out: p is 1 and 0, their mean 1/2.
/// let budgets = FrameBudget { base: 0.5, temperature: 0.01 }.build(&mut graph, scores, sizes)?;
/// graph.output("budgets", budgets)?;
/// assert_eq!(graph.run_reference(&[].into())?["budgets"].integers(), [6, 2]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FrameBudget {
    /// Share of a frame's tokens that an ordinary frame keeps, 0 to 1.
    pub base: f32,
    /// How much a difference of scores counts, from 2^-126 to 2^126; VidCom2's is 0.01.
    pub temperature: f32,
}

impl FrameBudget {
    /// Adds the call: budgets u32 `[B, F]` by `scores` f32 `[B, F]` and the frames' `sizes` u32 `[B, F]`. The lowest scores stand
    /// out most.
    ///
    /// Frames without tokens get 0, and their scores do not matter. A score that is NaN stands out least. All others, infinities
    /// too, count as from -2^126 to 2^126. A share has the precision of f32; what it is of a size is computed in whole numbers.
    pub fn build(self, graph: &mut Graph, scores: Tensor, sizes: Tensor) -> Result<Tensor, Error> {
        Ok(graph.call(self, &[scores, sizes])?[0])
    }

    /// The old name of `build`.
    #[deprecated(note = "it is `build` now, as everywhere")]
    pub fn find(self, graph: &mut Graph, scores: Tensor, sizes: Tensor) -> Result<Tensor, Error> {
        self.build(graph, scores, sizes)
    }

    fn each<T>(&self, inputs: &[&HostTensor], of: impl Fn(&[f32], &[u32], f32, f32) -> Vec<T>) -> Vec<T> {
        let [_, frames] = inputs[0].dims();
        let scores = inputs[0].floats();
        let rows = scores.chunks(frames.max(1)).zip(inputs[1].integers().chunks(frames.max(1)));
        rows.flat_map(|(scores, sizes)| of(scores, sizes, self.base, self.temperature)).collect()
    }
}

impl Kernel for FrameBudget {
    fn name(&self) -> &'static str {
        "frame_budget"
    }

    fn output_names(&self) -> &'static [&'static str] {
        &["budgets"]
    }

    fn input_count(&self) -> std::ops::RangeInclusive<usize> {
        2..=2
    }

    fn outputs(&self, inputs: &[Desc]) -> Result<Vec<Desc>, Error> {
        if !(0.0..=1.0).contains(&self.base) {
            return Err(Error::Value { argument: "frame_budget: base", expected: "0 to 1".to_owned(), actual: self.base.to_string() });
        }
        // Its reciprocal is in the same range.
        if !(f32::MIN_POSITIVE..=1.0 / f32::MIN_POSITIVE).contains(&self.temperature) {
            let (expected, actual) = ("2^-126 to 2^126".to_owned(), self.temperature.to_string());
            return Err(Error::Value { argument: "frame_budget: temperature", expected, actual });
        }
        let [batch, frames] = inputs[0].shape.exactly("frame_budget: scores", "[B, F]")?;
        let budgets = Desc::new([batch, frames], Elem::U32);
        expect("frame_budget: scores", inputs[0], Desc::new([batch, frames], Elem::F32))?;
        expect("frame_budget: sizes", inputs[1], budgets)?;
        Ok(vec![budgets])
    }

    fn reference(&self, inputs: &[&HostTensor]) -> Vec<HostTensor> {
        vec![HostTensor::u32(inputs[0].shape(), self.each(inputs, reference::frame_budget))]
    }

    fn batched_inputs(&self, _inputs: &[Desc]) -> Option<Vec<bool>> {
        Some(vec![true; 2])
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<(), Error> {
        let [batch, frames] = lowering.input(0).shape.exactly("frame_budget: scores", "[B, F]")?;
        // exp(-128) is 0 in f32.
        let (sharpness, far) = (1.0 / self.temperature, (128.0 * self.temperature).min(f32::MAX));
        let rows = if frames == 0 { 0 } else { u64::from(batch) };
        let (shader, groups) = team(alone(frames, frames.into(), 0), &FRAME_BUDGET, &FRAME_BUDGET_ALONE, rows);
        lowering.dispatch(Call {
            shader,
            header: Header::F32,
            constants: &[],
            slots: &[Slot::Input(0), Slot::Input(1), Slot::Output(0)],
            params: Params { batch, frames, share: self.base, sharpness, far },
            groups,
        })
    }

    /// A budget is right if the exact share rounds to it, or would if it were as much larger or smaller as rounding explains.
    fn compare(&self, inputs: &[&HostTensor], expected: &[HostTensor], actual: &[HostTensor]) -> Vec<Comparison> {
        let shares = self.each(inputs, reference::frame_shares);
        let (e, a) = (expected[0].integers(), actual[0].integers());
        let sizes = inputs[1].integers();
        let judge = |index: usize| {
            let (expected, actual) = (f64::from(e[index]), f64::from(a[index]));
            let exact = Worst { index, expected, actual, bound: 0.0 };
            match shares[index] {
                Some((share, error)) if e[index] != a[index] && (1..=sizes[index]).contains(&a[index]) => {
                    // The nearest share that rounds to it.
                    Worst { expected: share, actual: actual + if actual > share { -0.5 } else { 0.5 }, bound: error, ..exact }
                }
                _ => exact,
            }
        };
        vec![Comparison::judged(&expected[0], &actual[0], judge)]
    }
}
