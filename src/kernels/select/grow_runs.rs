//! Runs of tokens that are similar to all members of the run.

use crate::checks::expect;
use crate::compare::{Comparison, Worst};
use crate::device::{BindingElem, Call, Header, Include, Lowering, Shader, Slot, params};
use crate::error::Error;
use crate::graph::{Graph, Kernel, Tensor};
use crate::kernels::Normalized;
use crate::kernels::operands::{alone, lengths_or_full, steps_of_dispatch, team};
use crate::reference::{self, Growth};
use crate::tensor::{Desc, Elem, HostTensor};

params! {
    struct Params {
        batch: u32, tokens: u32,
        /// Tokens of this dispatch.
        first: u32, last: u32,
        channels: u32, threshold: f32,
    }
}

pub(super) static GROW_RUNS: Shader = Shader {
    name: "grow_runs",
    source: include_str!("../../../shaders/select/grow_runs.wgsl"),
    includes: &[Include::Team],
    headers: &[Header::F32],
    inputs: &[("unit", BindingElem::F32), ("norm", BindingElem::F32), ("lengths", BindingElem::U32)],
    outputs: &[("joins", BindingElem::U32), ("runs", BindingElem::U32), ("sums", BindingElem::F32)],
    params: Params::NAMES,
    tunings: &[&[]],
};

/// An invocation for a row.
pub(super) static GROW_RUNS_ALONE: Shader = Shader { name: "grow_runs.alone", includes: &[Include::Alone], ..GROW_RUNS };

/// Runs by the mean similarity to their members.
#[derive(Debug, Clone, Copy)]
struct GrowRuns {
    threshold: f32,
}

/// Divides tokens into runs of which each token is like all members before it. Gives u32 `[B, N]`, 1 for each token that joins
/// the run before it, for [`RunSegments`](crate::kernels::RunSegments).
///
/// From the first token on, each joins the run before it if its mean cosine to all members is `threshold` or more. Otherwise it
/// starts a run of its own. The mean is that of SAMP, in `https://github.com/Tencent/AngelSlim`.
///
/// `normalized` comes from [`row_normalize`](crate::kernels::row_normalize()). The first `lengths[b]` tokens are alive (u32
/// `[B]`, all for `None`). `threshold` is finite.
///
/// - Equal rows have cosine 1, whatever was rounded in them.
/// - A zero row has cosine 0.
/// - A row with a NaN or an infinity is a run of its own.
///
/// Cost: a dispatch for each 400 tokens or so, of one workgroup a batch row, or of one invocation where it has few numbers; linear in N;
/// `4 B N C` operations, two reads of each row. Workspace: 4 C + 20 bytes a batch row.
///
/// ```
/// use tokenpress::kernels::{grow_runs, row_normalize};
/// use tokenpress::{Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// let x = graph.constant(HostTensor::f32([1, 3, 2], vec![1.0, 0.0, 2.0, 0.0, 0.0, 1.0]));
/// let normalized = row_normalize(&mut graph, x, None)?;
/// let joins = grow_runs(&mut graph, normalized, 0.9, None)?;
/// graph.output("joins", joins)?;
/// assert_eq!(graph.run_reference(&[].into())?["joins"].integers(), [0, 1, 0]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
pub fn grow_runs(graph: &mut Graph, normalized: Normalized, threshold: f32, lengths: Option<Tensor>) -> Result<Tensor, Error> {
    let [batch, tokens, _] = normalized.unit.shape().exactly("grow_runs: unit", "[B, N, C]")?;
    if !threshold.is_finite() {
        let expected = "a finite number".to_owned();
        return Err(Error::Value { argument: "grow_runs: threshold", expected, actual: threshold.to_string() });
    }
    let lengths = lengths_or_full(graph, lengths, batch, tokens);
    Ok(graph.call(GrowRuns { threshold }, &[normalized.unit, normalized.norm, lengths])?[0])
}

impl GrowRuns {
    /// `of` the tokens of every batch row.
    fn each<T>(&self, inputs: &[&HostTensor], mut of: impl FnMut(usize, &Growth<'_>) -> Vec<T>) -> Vec<T> {
        let [batch, tokens, channels] = inputs[0].dims();
        let (unit, norm) = (inputs[0].floats(), inputs[1].floats());
        let row = |b: usize| Growth {
            unit: &unit[b * tokens * channels..][..tokens * channels],
            norm: &norm[b * tokens..][..tokens],
            channels,
            live: inputs[2].integers()[b],
            threshold: self.threshold,
        };
        (0..batch).flat_map(|b| of(b, &row(b))).collect()
    }
}

impl Kernel for GrowRuns {
    fn name(&self) -> &'static str {
        "grow_runs"
    }

    fn output_names(&self) -> &'static [&'static str] {
        &["joins"]
    }

    fn outputs(&self, inputs: &[Desc]) -> Result<Vec<Desc>, Error> {
        let [batch, tokens, channels] = inputs[0].shape.exactly("grow_runs: unit", "[B, N, C]")?;
        expect("grow_runs: unit", inputs[0], Desc::new([batch, tokens, channels], Elem::F32))?;
        expect("grow_runs: norm", inputs[1], Desc::new([batch, tokens], Elem::F32))?;
        expect("grow_runs: lengths", inputs[2], Desc::new([batch], Elem::U32))?;
        Ok(vec![Desc::new([batch, tokens], Elem::U32)])
    }

    fn reference(&self, inputs: &[&HostTensor]) -> Vec<HostTensor> {
        vec![HostTensor::u32(inputs[1].shape(), self.each(inputs, |_, growth| reference::grow_runs(growth)))]
    }

    fn batched_inputs(&self, _inputs: &[Desc]) -> Option<Vec<bool>> {
        Some(vec![true; 3])
    }

    fn flops(&self, inputs: &[Desc]) -> u64 {
        // The product with the run's sum, and the sum.
        3 * inputs[0].shape.elements()
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<(), Error> {
        let [batch, tokens, channels] = lowering.input(0).shape.exactly("grow_runs: unit", "[B, N, C]")?;
        let runs = lowering.scratch(5 * u64::from(batch), Elem::U32);
        let sums = lowering.scratch(u64::from(batch) * u64::from(channels), Elem::F32);
        let (shader, groups) = team(alone(tokens, 2 * u64::from(tokens), channels), &GROW_RUNS, &GROW_RUNS_ALONE, u64::from(batch));
        // A token's channels, its sum over the team, and the run's sums.
        let tokens_each = steps_of_dispatch(2 * u64::from(channels.div_ceil(128)) + 132);
        for first in (0..tokens).step_by(tokens_each as usize) {
            let last = first.saturating_add(tokens_each).min(tokens);
            lowering.dispatch(Call {
                shader,
                header: Header::F32,
                constants: &[],
                slots: &[Slot::Input(0), Slot::Input(1), Slot::Input(2), Slot::Output(0), runs, sums],
                params: Params { batch, tokens, first, last, channels, threshold: self.threshold },
                groups,
            })?;
        }
        Ok(())
    }

    /// A decision is right if the exact mean, over the run as it was decided, is on its side of the threshold, or as near to it as
    /// rounding explains. What follows a decision depends on it, so the reference's own runs do not count.
    fn compare(&self, inputs: &[&HostTensor], expected: &[HostTensor], actual: &[HostTensor]) -> Vec<Comparison> {
        let joins = actual[0].integers();
        let judged = self.each(inputs, |b, growth| judge(growth, &joins[b * growth.norm.len()..][..growth.norm.len()]));
        vec![Comparison::judged(&expected[0], &actual[0], |index| Worst { index, ..judged[index] })]
    }
}

/// What is to be said of each decision.
fn judge(growth: &Growth<'_>, joins: &[u32]) -> Vec<Worst> {
    let mut first = 0;
    let mut judged = Vec::new();
    for (token, &joined) in joins.iter().enumerate() {
        let exact = |expected: u32| Worst { index: 0, expected: f64::from(expected), actual: f64::from(joined), bound: 0.0 };
        let mean = growth.mean(first, token).filter(|_| token < growth.live as usize);
        judged.push(match mean {
            None => exact(0),
            Some(mean) if u32::from(mean >= f64::from(growth.threshold)) == joined => exact(joined),
            Some(_) if growth.error(first, token) == 0.0 => exact(1 - joined.min(1)),
            Some(_) if joined > 1 => exact(1),
            Some(mean) => Worst { index: 0, expected: f64::from(growth.threshold), actual: mean, bound: growth.error(first, token) },
        });
        if joined == 0 {
            first = token;
        }
    }
    judged
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decisions_are_judged_by_the_run_they_made() {
        // The second token's cosine is the threshold but for rounding; the third is like the second alone.
        let unit = [1.0, 0.0, 0.6, 0.8, 0.0, 1.0];
        let growth = Growth { unit: &unit, norm: &[1.0; 3], channels: 2, live: 3, threshold: 0.6 - f32::EPSILON / 2.0 };
        let passes = |joins: [u32; 3]| judge(&growth, &joins).iter().all(|worst| worst.ratio() <= 1.0);
        assert!(passes([0, 1, 0]) && passes([0, 0, 1]));
        assert!(!passes([0, 1, 1]) && !passes([0, 0, 0]) && !passes([1, 1, 0]) && !passes([0, 2, 0]));
        assert_eq!(reference::grow_runs(&growth), [0, 1, 0]);
    }
}
