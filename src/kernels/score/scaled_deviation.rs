//! Standard deviations of channels that are scaled to ranges.

use crate::checks::expect;
use crate::compare::Comparison;
use crate::device::{BindingElem, Call, Header, Include, Lowering, Shader, Slot, params};
use crate::error::Error;
use crate::graph::{Graph, Kernel, Tensor};
use crate::reference;
use crate::tensor::{Desc, Elem, HostTensor};

params! {
    struct Params {
        /// S * N.
        rows: u32,
        tokens: u32,
        channels: u32,
    }
}

pub(super) static SCALED_DEVIATION: Shader = Shader {
    name: "scaled_deviation",
    source: include_str!("../../../shaders/score/scaled_deviation.wgsl"),
    includes: &[Include::Order],
    headers: &[Header::F32, Header::F16],
    inputs: &[("x", BindingElem::Elem), ("low", BindingElem::Elem), ("high", BindingElem::Elem)],
    outputs: &[("deviation", BindingElem::F32)],
    params: Params::NAMES,
    tunings: &[&[]],
};

/// Deviations of tokens within ranges.
#[derive(Debug, Clone, Copy)]
struct ScaledDeviation;

/// How differently a token's channels lie in their ranges: LagKV's score.
///
/// ```text
/// u_c = (x_c - low_c) / (high_c - low_c)        deviation = sqrt(sum_c (u_c - mean u)^2 / (C - 1))
/// ```
///
/// `x` is f32, f16 or bf16 `[S, N, C]`; `low` and `high` are `[S, C]` of the same type, the ranges of each set of tokens. Gives f32 `[S, N]`.
///
/// - A channel whose range is below 2^-120, or turned round, has `u_c = 0`.
/// - A NaN or an infinity in a token or in its ranges gives NaN.
/// - One channel has deviation 0. Tokens farther than 10^15 ranges away have no defined deviation.
///
/// Cost: one dispatch; two reads of x, one of them from cache.
///
/// ```
/// use tokenpress::kernels::scaled_deviation;
/// use tokenpress::{Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// let x = graph.constant(HostTensor::f32([1, 2, 2], vec![5.0, 2.0, 0.0, 4.0]));
/// let low = graph.constant(HostTensor::f32([1, 2], vec![0.0, 0.0]));
/// let high = graph.constant(HostTensor::f32([1, 2], vec![10.0, 4.0]));
/// let deviation = scaled_deviation(&mut graph, x, low, high)?;
/// graph.output("deviation", deviation)?;
/// assert_eq!(graph.run_reference(&[].into())?["deviation"].floats(), [0.0, 0.5f32.sqrt()]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
pub fn scaled_deviation(graph: &mut Graph, x: Tensor, low: Tensor, high: Tensor) -> Result<Tensor, Error> {
    Ok(graph.call(ScaledDeviation, &[x, low, high])?[0])
}

/// `of` every token, its low and its high ends.
fn each(inputs: &[&HostTensor], of: impl Fn(&[f32], &[f32], &[f32]) -> f64) -> Vec<f64> {
    let [sets, tokens, channels] = inputs[0].dims();
    let [x, low, high] = [0, 1, 2].map(|input| inputs[input].floats());
    let row = |row: usize| {
        let set = row / tokens * channels;
        of(&x[row * channels..][..channels], &low[set..][..channels], &high[set..][..channels])
    };
    (0..sets * tokens).map(row).collect()
}

impl Kernel for ScaledDeviation {
    fn name(&self) -> &'static str {
        "scaled_deviation"
    }

    fn output_names(&self) -> &'static [&'static str] {
        &["deviation"]
    }

    fn outputs(&self, inputs: &[Desc]) -> Result<Vec<Desc>, Error> {
        let x = inputs[0];
        let [sets, tokens, channels] = x.shape.exactly("scaled_deviation: x", "[S, N, C]")?;
        if !x.elem.is_float() {
            return Err(Error::Elem { argument: "scaled_deviation: x", expected: "f32, f16 or bf16", actual: x.elem });
        }
        expect("scaled_deviation: low", inputs[1], Desc::new([sets, channels], x.elem))?;
        expect("scaled_deviation: high", inputs[2], Desc::new([sets, channels], x.elem))?;
        Ok(vec![Desc::new([sets, tokens], Elem::F32)])
    }

    fn reference(&self, inputs: &[&HostTensor]) -> Vec<HostTensor> {
        let values = each(inputs, reference::scaled_deviation).into_iter().map(|value| value as f32).collect();
        let [sets, tokens, _] = inputs[0].dims();
        vec![HostTensor::f32([sets as u32, tokens as u32], values)]
    }

    fn compare(&self, inputs: &[&HostTensor], expected: &[HostTensor], actual: &[HostTensor]) -> Vec<Comparison> {
        let exact = each(inputs, reference::scaled_deviation);
        vec![Comparison::ranged(&expected[0], &actual[0], &exact, &each(inputs, reference::scaled_deviation_bound))]
    }

    fn batched_inputs(&self, _inputs: &[Desc]) -> Option<Vec<bool>> {
        Some(vec![true, true, true])
    }

    fn flops(&self, inputs: &[Desc]) -> u64 {
        // Scaled twice by three operations, added, subtracted, squared and added.
        10 * inputs[0].shape.elements()
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<(), Error> {
        let [sets, tokens, channels] = lowering.input(0).shape.exactly("scaled_deviation: x", "[S, N, C]")?;
        let rows = u64::from(sets) * u64::from(tokens);
        lowering.dispatch(Call {
            shader: &SCALED_DEVIATION,
            header: Header::of(lowering.input(0).elem),
            constants: &[],
            slots: &[Slot::Input(0), Slot::Input(1), Slot::Input(2), Slot::Output(0)],
            params: Params { rows: rows as u32, tokens, channels },
            groups: rows.div_ceil(16),
        })
    }
}
