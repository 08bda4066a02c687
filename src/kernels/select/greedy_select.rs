//! Greedy selection of diverse tokens.

use crate::checks::expect;
use crate::compare::{Comparison, Worst};
use crate::device::{BindingElem, Call, Header, Include, Lowering, Shader, Slot, params};
use crate::error::Error;
use crate::graph::{Graph, Kernel, Tensor};
use crate::kernels::Normalized;
use crate::kernels::operands::{alone, lengths_or_full, list, list_of, steps_of_dispatch};
use crate::reference::{self, Field, GreedySelection};
use crate::tensor::{Desc, Elem, HostTensor, NONE};

pub use crate::reference::Objective;

params! {
    struct StartParams {
        /// Tokens of the whole batch, at least one a row.
        total: u32,
        tokens: u32,
        /// At most `tokens`.
        k: u32,
        stride: u32,
        objective: u32,
    }
}

params! {
    struct Params {
        groups: u32,
        /// Of a batch row.
        parts: u32,
        /// Step, and after the last.
        first: u32,
        last: u32,
        tokens: u32,
        /// In elems.
        channels: u32,
        k: u32,
        /// Columns at most: no more than are selected, or than there are channels.
        rank: u32,
        given_count: u32,
        /// From one batch row's list to the next: 0 or the count.
        given_stride: u32,
        stride: u32,
        objective: u32,
        relevance: f32,
        /// 1 - relevance.
        similarity: f32,
    }
}

pub(super) static START: Shader = Shader {
    name: "greedy_select.start",
    source: include_str!("../../../shaders/select/greedy_select.start.wgsl"),
    includes: &[Include::Order],
    headers: &[Header::F32],
    inputs: &[("norm", BindingElem::F32), ("weights", BindingElem::F32), ("lengths", BindingElem::U32)],
    outputs: &[("indices", BindingElem::U32), ("kept", BindingElem::U32), ("memory", BindingElem::U32)],
    params: StartParams::NAMES,
    tunings: &[&[]],
};

pub(super) static SELECT: Shader = Shader {
    name: "greedy_select",
    source: include_str!("../../../shaders/select/greedy_select.wgsl"),
    headers: &[Header::F32, Header::F32x4],
    inputs: &[("unit", BindingElem::Elem), ("weights", BindingElem::F32), ("counts", BindingElem::U32), ("given", BindingElem::U32)],
    params: Params::NAMES,
    ..START
};

pub(super) static SHORT_ROWS: Shader =
    Shader { name: "greedy_select.short", source: include_str!("../../../shaders/select/greedy_select.short.wgsl"), ..SELECT };

/// Tokens of the longest row, and numbers of the largest, that one workgroup selects from in one dispatch. It reads the whole row for
/// each selected token, at what one core of a GPU gets from its cache: more than 1 MiB takes longer than a dispatch of many.
const PERSISTENT: (u32, u64) = (4096, 1 << 18);

/// Tokens that a workgroup works on at a time.
const TILE: u32 = 64;

/// Selects `k` tokens of each row one by one, each the best beside those selected before it.
///
/// ```text
/// S = the given tokens, in their order
/// while |S| < count:  S = S + argmax_{i not in S} objective(i, S)        lowest i on ties
/// ```
///
/// What is selected is never selected again.
///
/// - [`Objective::MaxMin`] is farthest-point sampling, the loop of DivPrune and BTP.
/// - [`Objective::Determinant`] is a determinantal point process, as in CDPruner and SAMP. Chen et al., "Fast Greedy MAP
///   Inference for Determinantal Point Process to Improve Recommendation Diversity" (NeurIPS 2018).
/// - [`Objective::MarginalRelevance`] is maximal marginal relevance. Carbonell and Goldstein (SIGIR 1998).
///
/// Cost: `2 k N C` operations, and `k min(k, C) N` more for the determinant. Two dispatches, of one workgroup a row, or of one
/// invocation where a row has little to add up. Where N is above 4096, or a row above 1 MiB, it is one dispatch for each selected
/// token, of a workgroup for each 64 tokens. Workspace: 12 bytes a token, and `4 min(k, C)` more for the determinant. C
/// tokens span all that there is, and what is selected after them goes by index.
///
/// ```
/// use tokenpress::kernels::{GreedyInputs, GreedySelect, Objective, row_normalize};
/// use tokenpress::{Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// let x = graph.constant(HostTensor::f32([1, 3, 2], vec![1.0, 0.0, 2.0, 0.0, 0.0, 1.0]));
/// let normalized = row_normalize(&mut graph, x, None)?;
/// let two = GreedySelect { objective: Objective::MaxMin, k: 2 };
/// let selected = two.build(&mut graph, GreedyInputs::new(normalized))?;
/// graph.output("selected", selected.indices)?;
/// // Token 1 has the direction of token 0.
/// assert_eq!(graph.run_reference(&[].into())?["selected"].integers(), [0, 2]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[doc(alias("farthest_point_sampling", "fps", "dpp", "mmr", "diversity"))]
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GreedySelect {
    /// What each token is the best by.
    pub objective: Objective,
    /// How many to select at most, the given ones among them: at most N.
    pub k: u32,
}

/// What [`GreedySelect::build`] reads.
#[derive(Debug, Clone, Copy)]
pub struct GreedyInputs {
    /// [`row_normalize`](crate::kernels::row_normalize()) of the features `[B, N, C]`.
    pub normalized: Normalized,
    /// f32 `[B, N]`, see [`Objective`]; 1 for every token for `None`.
    pub weights: Option<Tensor>,
    /// Tokens that are selected before all others, u32 `[G]` or `[B, G]`. [`NONE`], dead tokens and repetitions are skipped.
    pub given: Option<Tensor>,
    /// Live tokens of each row, u32 `[B]`; all for `None`.
    pub lengths: Option<Tensor>,
    /// How many to select in each row, u32 `[B]`, at most `k`; `k` for `None`.
    pub counts: Option<Tensor>,
}

impl GreedyInputs {
    /// Features alone.
    pub fn new(normalized: Normalized) -> Self {
        Self { normalized, weights: None, given: None, lengths: None, counts: None }
    }
}

/// What [`GreedySelect::build`] gives.
#[derive(Debug, Clone, Copy)]
pub struct GreedySelected {
    /// `[B, k]` u32: the selected tokens, in order of selection, [`NONE`] after the last.
    pub indices: Tensor,
    /// `[B]` u32: how many they are.
    pub kept: Tensor,
}

impl GreedySelect {
    /// Adds the selection to a graph.
    ///
    /// - A zero row has similarity 0 to everything.
    /// - A token with a NaN or an infinity in its row is selected after all others, by index, and steers none of them. So is one
    ///   with a NaN or an infinity as its weight, but for [`Objective::MaxMin`].
    /// - Under [`Objective::Determinant`] a token gains 0 if the selected ones span all but `2^-16` of its squared length. Such
    ///   tokens go by index. A weight's square must be within the range of f32.
    ///
    /// Errors: wrong shapes and element types, `k` above N, and a relevance outside 0 to 1.
    pub fn build(self, graph: &mut Graph, inputs: GreedyInputs) -> Result<GreedySelected, Error> {
        let GreedyInputs { normalized, weights, given, lengths, counts } = inputs;
        let [batch, tokens, _] = normalized.unit.shape().exactly("greedy_select: unit", "[B, N, C]")?;
        let weights = weights.unwrap_or_else(|| graph.filled_f32([batch, tokens], 1.0));
        let given = given.unwrap_or_else(|| graph.constant(HostTensor::u32([1], vec![NONE])));
        let lengths = lengths_or_full(graph, lengths, batch, tokens);
        let counts = lengths_or_full(graph, counts, batch, self.k);
        let inputs = [normalized.unit, normalized.norm, weights, given, lengths, counts];
        let outputs = graph.call(self, &inputs)?;
        Ok(GreedySelected { indices: outputs[0], kept: outputs[1] })
    }

    /// The old name of `build`.
    #[deprecated(note = "it is `build` now, as everywhere")]
    pub fn select(self, graph: &mut Graph, inputs: GreedyInputs) -> Result<GreedySelected, Error> {
        self.build(graph, inputs)
    }

    /// Selections of every batch row before the first token, what is given, and how many are asked for.
    fn selections<'a>(&self, inputs: &[&'a HostTensor], values: &'a [Vec<f32>; 3]) -> Vec<(GreedySelection<'a>, &'a [u32], usize)> {
        let [batch, tokens, channels] = inputs[0].dims();
        let row = |b: usize| {
            let field = Field {
                unit: &values[0][b * tokens * channels..][..tokens * channels],
                norm: &values[1][b * tokens..][..tokens],
                weights: &values[2][b * tokens..][..tokens],
                channels,
                live: inputs[4].integers()[b] as usize,
            };
            let count = inputs[5].integers()[b].min(self.k) as usize;
            (GreedySelection::new(field, self.objective), list_of(inputs[3], b), count)
        };
        (0..batch).map(row).collect()
    }
}

impl Kernel for GreedySelect {
    fn name(&self) -> &'static str {
        "greedy_select"
    }

    fn output_names(&self) -> &'static [&'static str] {
        &["indices", "kept"]
    }

    fn input_count(&self) -> std::ops::RangeInclusive<usize> {
        6..=6
    }

    fn outputs(&self, inputs: &[Desc]) -> Result<Vec<Desc>, Error> {
        let [batch, tokens, channels] = inputs[0].shape.exactly("greedy_select: unit", "[B, N, C]")?;
        expect("greedy_select: unit", inputs[0], Desc::new([batch, tokens, channels], Elem::F32))?;
        expect("greedy_select: norm", inputs[1], Desc::new([batch, tokens], Elem::F32))?;
        expect("greedy_select: weights", inputs[2], Desc::new([batch, tokens], Elem::F32))?;
        list("greedy_select: given", inputs[3], batch)?;
        expect("greedy_select: lengths", inputs[4], Desc::new([batch], Elem::U32))?;
        expect("greedy_select: counts", inputs[5], Desc::new([batch], Elem::U32))?;
        if self.k > tokens {
            let expected = format!("at most the {tokens} tokens");
            return Err(Error::Value { argument: "greedy_select: k", expected, actual: self.k.to_string() });
        }
        match self.objective {
            Objective::MarginalRelevance { relevance } if !(0.0..=1.0).contains(&relevance) => {
                let expected = "from 0 to 1".to_owned();
                return Err(Error::Value { argument: "greedy_select: relevance", expected, actual: relevance.to_string() });
            }
            _ => {}
        }
        Ok(vec![Desc::new([batch, self.k], Elem::U32), Desc::new([batch], Elem::U32)])
    }

    fn reference(&self, inputs: &[&HostTensor]) -> Vec<HostTensor> {
        let values = [0, 1, 2].map(|i| inputs[i].floats());
        let (mut indices, mut kept) = (Vec::new(), Vec::new());
        for (selection, given, count) in self.selections(inputs, &values) {
            let mut selected = reference::greedy_select(selection, given, count);
            kept.push(selected.len() as u32);
            selected.resize(self.k as usize, NONE);
            indices.extend(selected);
        }
        let batch = kept.len() as u32;
        vec![HostTensor::u32([batch, self.k], indices), HostTensor::u32([batch], kept)]
    }

    fn batched_inputs(&self, inputs: &[Desc]) -> Option<Vec<bool>> {
        Some(vec![true, true, true, inputs[3].shape.dims().len() == 2, true, true])
    }

    fn flops(&self, inputs: &[Desc]) -> u64 {
        let [batch, tokens, channels] = [0, 1, 2].map(|d| u64::from(inputs[0].shape.dims()[d]));
        let determinant = if self.objective == Objective::Determinant { u64::from(self.k).min(channels) } else { 0 };
        [u64::from(self.k), tokens, 2 * channels + determinant].iter().fold(batch, |product, size| product.saturating_mul(*size))
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<(), Error> {
        let [batch, tokens, channels] = lowering.input(0).shape.exactly("greedy_select: unit", "[B, N, C]")?;
        let (given_count, given_stride) = list("greedy_select: given", lowering.input(3), batch)?;
        let (objective, relevance) = match self.objective {
            Objective::MaxMin => (0, 0.0),
            Objective::MarginalRelevance { relevance } => (1, relevance),
            Objective::Determinant => (2, 0.0),
        };
        // No more directions than channels can be spanned, however many tokens are selected.
        let rank = if self.objective == Objective::Determinant { self.k.min(channels) } else { 0 };
        let stride = (3 * u64::from(tokens) + 6).saturating_add(u64::from(tokens) * u64::from(rank));
        let memory = lowering.scratch(u64::from(batch).saturating_mul(stride), Elem::U32);
        let stride = stride as u32;
        let total = u64::from(batch) * u64::from(tokens.max(1));
        lowering.dispatch(Call {
            shader: &START,
            header: Header::F32,
            constants: &[],
            slots: &[Slot::Input(1), Slot::Input(2), Slot::Input(4), Slot::Output(0), Slot::Output(1), memory],
            params: StartParams { total: total as u32, tokens, k: self.k, stride, objective },
            groups: total.div_ceil(256),
        })?;
        if self.k == 0 {
            return Ok(());
        }
        let (header, [unit]) = lowering.vectors(Elem::F32, channels, [Slot::Input(0)]);
        let persistent = tokens <= PERSISTENT.0 && u64::from(tokens) * u64::from(channels) <= PERSISTENT.1;
        // Of a step: the winner is found, then each tile's channels, columns and sums are gone through.
        let of_tile = u64::from(channels.div_ceil(16)) + u64::from(rank.div_ceil(16)) + 17;
        let turns = u64::from(tokens.div_ceil(256)) + 33 + u64::from(tokens.div_ceil(TILE)) * of_tile;
        let (parts, steps_each) = if persistent { (1, steps_of_dispatch(turns)) } else { (tokens.div_ceil(TILE), 1) };
        let entries = given_count.saturating_add(self.k);
        let short = alone(tokens, u64::from(entries) * u64::from(tokens), channels);
        // A step selects a token. That for short rows goes through entries of the list one by one.
        let (shader, steps) = if short { (&SHORT_ROWS, entries) } else { (&SELECT, self.k) };
        let parts_in_all = u64::from(batch) * u64::from(parts);
        let groups = if short { parts_in_all.div_ceil(64) } else { parts_in_all };
        for first in (0..steps).step_by(steps_each as usize) {
            let last = first.saturating_add(steps_each).min(steps);
            lowering.dispatch(Call {
                shader,
                header,
                constants: &[],
                slots: &[unit, Slot::Input(2), Slot::Input(5), Slot::Input(3), Slot::Output(0), Slot::Output(1), memory],
                params: Params {
                    groups: parts_in_all as u32,
                    parts,
                    first,
                    last,
                    tokens,
                    channels: channels / header.width(),
                    k: self.k,
                    rank,
                    given_count,
                    given_stride,
                    stride,
                    objective,
                    relevance,
                    similarity: 1.0 - relevance,
                },
                groups,
            })?;
        }
        Ok(())
    }

    /// A choice steers all later ones: each is judged beside those that the same run made before it. It is right where the
    /// exact score is as near to the best as the errors of both allow.
    fn compare(&self, inputs: &[&HostTensor], expected: &[HostTensor], actual: &[HostTensor]) -> Vec<Comparison> {
        let values = [0, 1, 2].map(|i| inputs[i].floats());
        let k = self.k as usize;
        let mut judgements = Vec::new();
        for (b, (mut selection, given, count)) in self.selections(inputs, &values).into_iter().enumerate() {
            let (expected, actual) = (&expected[0].integers()[b * k..][..k], &actual[0].integers()[b * k..][..k]);
            let mut decided = selection.clone();
            let forced = given.iter().filter(|token| decided.select(**token as usize)).take(count).count();
            for (at, (&expected, &actual)) in expected.iter().zip(actual).enumerate() {
                judgements.push(judge(b * k + at, &selection, expected, actual, at < forced));
                selection.select(actual as usize);
            }
        }
        vec![Comparison::judged(&expected[0], &actual[0], |index| judgements[index]), Comparison::exact(&expected[1], &actual[1])]
    }
}

fn judge(index: usize, selection: &GreedySelection<'_>, expected: u32, actual: u32, forced: bool) -> Worst {
    let exact = Worst { index, expected: f64::from(expected), actual: f64::from(actual), bound: 0.0 };
    let rank = |token: usize| selection.rank(token).map(|rank| (rank.score, rank.error));
    match (selection.best().and_then(rank), rank(actual as usize)) {
        (Some((best, best_error)), Some((score, error))) if !forced && selection.admits(actual as usize) => {
            Worst { index, expected: best, actual: score, bound: best_error + error }
        }
        // `expected` is what the reference chose beside tokens of its own: it need not be the best beside these.
        (Some(_), Some(_)) if !forced => Worst { actual: f64::NAN, ..exact },
        _ => exact,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Four tokens, the last dead; the second and third nearer to each other than rounding.
    fn passes(given: u32, actual: [u32; 3]) -> bool {
        let kernel = GreedySelect { objective: Objective::MaxMin, k: 3 };
        let inputs = [
            HostTensor::f32([1, 4, 2], vec![1.0, 0.0, 0.6, 0.8, 0.6 + f32::EPSILON / 2.0, 0.8, 0.0, 1.0]),
            HostTensor::f32([1, 4], vec![1.0; 4]),
            HostTensor::f32([1, 4], vec![0.0; 4]),
            HostTensor::u32([1], vec![given]),
            HostTensor::u32([1], vec![3]),
            HostTensor::u32([1], vec![3]),
        ];
        let inputs: Vec<_> = inputs.iter().collect();
        let expected = kernel.reference(&inputs);
        let actual = [HostTensor::u32([1, 3], actual.to_vec()), expected[1].clone()];
        kernel.compare(&inputs, &expected, &actual).iter().all(Comparison::passed)
    }

    #[test]
    fn choices_are_judged_beside_those_before_them() {
        assert!(passes(NONE, [0, 1, 2]));
        assert!(passes(NONE, [0, 2, 1]), "a near-tie, and what follows from it");
        assert!(!passes(NONE, [1, 0, 2]), "equal scores");
        assert!(!passes(NONE, [0, 1, 1]) && !passes(NONE, [0, 1, 3]) && !passes(NONE, [0, 1, NONE]));
        assert!(passes(2, [2, 0, 1]) && !passes(2, [0, 1, 2]), "the given one comes first");
    }
}
