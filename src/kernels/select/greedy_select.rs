//! Greedy selection of diverse tokens.

use crate::checks::expect;
use crate::compare::{Comparison, Worst};
use crate::device::{BindingElem, Call, Form, Header, Include, Lowering, Shader, Slot, params};
use crate::error::Error;
use crate::graph::{Graph, Kernel, Tensor};
use crate::kernels::Normalized;
use crate::kernels::operands::{alone, lengths_or_full, list, list_of, steps_of_dispatch};
use crate::reference::{self, Field, GreedySelection};
use crate::tensor::{Desc, Elem, HostTensor, NONE};

pub use crate::reference::Objective;

params! {
    struct StartParams {
        /// Places for tokens in the whole batch, at least one a row.
        total: u32,
        tokens: u32,
        /// Places of a row.
        pitch: u32,
        /// At most `tokens`.
        k: u32,
        /// In words.
        stride: u32,
        /// Whether an invocation has a row.
        short: u32,
        objective: u32,
    }
}

params! {
    struct GramParams {
        groups: u32,
        first_batch: u32,
        tokens: u32,
        /// In elems.
        channels: u32,
    }
}

params! {
    struct Params {
        groups: u32,
        /// Of a batch row.
        parts: u32,
        first_batch: u32,
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
        /// From one batch row's memory to the next: in fours of words, or in words where an invocation has a row.
        stride: u32,
        /// Fours of tokens of a tile.
        wide: u32,
        objective: u32,
        relevance: f32,
        /// 1 - relevance.
        similarity: f32,
    }
}

use BindingElem::{F32, U32};

pub(super) static START: Shader = Shader {
    name: "greedy_select.start",
    source: include_str!("../../../shaders/select/greedy_select/greedy_select.start.wgsl"),
    includes: &[Include::Order],
    headers: &[Header::F32],
    inputs: &[("norm", F32), ("weights", F32), ("lengths", U32)],
    outputs: &[("indices", U32), ("kept", U32), ("memory", U32)],
    params: StartParams::NAMES,
    tunings: &[&[]],
};

pub(super) static GRAM: Shader = Shader {
    name: "greedy_select.gram",
    source: include_str!("../../../shaders/select/greedy_select/greedy_select.gram.wgsl"),
    includes: &[Include::TileLanes, Include::Products, Include::Tile],
    headers: &[Header::F32, Header::F32x4],
    inputs: &[("unit", BindingElem::Elem), ("lengths", U32)],
    outputs: &[("gram", BindingElem::F32x4)],
    params: GramParams::NAMES,
    tunings: &[&[]],
};

pub(super) static SELECT: Shader = Shader {
    name: "greedy_select",
    source: include_str!("../../../shaders/select/greedy_select/greedy_select.wgsl"),
    includes: &[Include::Order, Include::Products],
    headers: GRAM.headers,
    inputs: &[("unit", BindingElem::Elem), ("counts", U32), ("given", U32)],
    outputs: &[("indices", U32), ("kept", U32), ("memory", BindingElem::U32x4), ("gram", BindingElem::F32x4)],
    params: Params::NAMES,
    tunings: &[&[("SOURCE", 0)], &[("SOURCE", 1)], &[("SOURCE", 2)]],
};

pub(super) static SHORT_ROWS: Shader = Shader {
    name: "greedy_select.short",
    source: include_str!("../../../shaders/select/greedy_select/greedy_select.short.wgsl"),
    inputs: &[("unit", BindingElem::Elem), ("weights", F32), ("counts", U32), ("given", U32)],
    outputs: START.outputs,
    tunings: &[&[("FUSED", 0)], &[("FUSED", 1)]],
    ..SELECT
};

pub(super) static GAINS: Shader = Shader {
    name: "greedy_select.gains",
    source: include_str!("../../../shaders/select/greedy_select/greedy_select.gains.wgsl"),
    includes: &[Include::Order],
    headers: &[Header::F32],
    inputs: &[("counts", U32), ("given", U32)],
    tunings: &[&[("ADDITIVE", 0)], &[("ADDITIVE", 1)]],
    ..SELECT
};

/// Where the cosines of a selected token come from: the values of `SOURCE`.
#[derive(Clone, Copy, PartialEq)]
enum Source {
    /// A CPU reads rows.
    Read,
    /// A GPU reads rows through workgroup memory.
    Staged,
    /// A matrix of all pairs.
    Kept,
}

impl Source {
    /// Fours of tokens of a workgroup's tile.
    const fn wide(self) -> u32 {
        match self {
            // Part of the workgroup's 128 invocations: a long row of a batch of one has work for every core.
            Self::Read => 32,
            Self::Staged => 16,
            Self::Kept => 128,
        }
    }
}

/// The most pairs of tokens whose products lie in memory at a time.
const MOST_PAIRS: u64 = 1 << 24;

/// A selected token that reads rows costs as much as so many rows of the matrix: on a CPU, and on a GPU.
const ROWS_OF_A_TOKEN: [u64; 2] = [32, 64];

/// Columns of a selected token that a workgroup keeps in its memory.
const PIVOTS: u32 = 512;

/// Tokens of the longest row, and numbers of the largest, that one workgroup selects from in many steps of a dispatch, and numbers of its
/// columns. It reads all of them for each selected token, at what one core of a GPU gets from its cache: more than 1 MiB takes longer than
/// a dispatch of many.
const PERSISTENT: (u32, u64) = (4096, 1 << 18);

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
/// - [`Objective::FacilityLocation`] serves all tokens, as in SCOPE: each gains as much as the selected token nearest to it is alike.
///
/// Cost: where N is at most `32 k` (on a GPU `64 k`) and 4096, `N (N + 64) C` operations for the products of all pairs, which each selected token then reads `4 N`
/// bytes of; elsewhere `2 k N C`. `k min(k, C) N` more for the determinant. Three dispatches, and two more for each further 2^24 pairs of a
/// batch, which are 64 MiB of workspace; two, of one invocation a row, where a row has little to add up. It is one dispatch for each selected
/// token, of many workgroups a row, where products are not kept and a row has more than 4096 tokens or 1 MiB (on a GPU always), and where
/// the columns of a determinant are more than 1 MiB. Workspace besides: 20 bytes a token, and `4 min(k, C)` more for the determinant. Which of
/// these it is does not change what is selected. For facility location it is always all products, of at most 4096 tokens, and `k + 1` dispatches
/// of many workgroups a row, each of which reads all of them: `3 k N^2` operations. C tokens span all that there is, and what is selected after them goes by index.
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
            Objective::FacilityLocation { .. } if pairs(tokens) > MOST_PAIRS => {
                let (expected, actual) = ("[B, N, C] of at most 4096 tokens".to_owned(), inputs[0].shape);
                return Err(Error::Shape { argument: "greedy_select: unit", expected, actual });
            }
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
        if let Objective::FacilityLocation { .. } = self.objective {
            let of_pair = (2 * channels).saturating_add(3 * u64::from(self.k));
            return [tokens, tokens, of_pair].iter().fold(batch, |product, size| product.saturating_mul(*size));
        }
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
            Objective::FacilityLocation { .. } => (3, 0.0),
        };
        let serves = matches!(self.objective, Objective::FacilityLocation { .. });
        // No more directions than channels can be spanned, however many tokens are selected.
        let rank = if self.objective == Objective::Determinant { self.k.min(channels) } else { 0 };
        let entries = given_count.saturating_add(self.k);
        let short = !serves && alone(tokens, u64::from(entries) * u64::from(tokens), channels);
        let fours = tokens.div_ceil(4);
        // Places of a row, and its words.
        let pitch = if short { tokens } else { 4 * fours };
        let (arrays, tallies) = if short { (2, 0) } else { (5, 8) };
        let stride = tallies + u64::from(pitch) * (arrays + u64::from(rank));
        let memory = lowering.scratch(u64::from(batch).saturating_mul(stride), Elem::U32);
        let total = u64::from(batch) * u64::from(pitch.max(1));
        lowering.dispatch(Call {
            shader: &START,
            header: Header::F32,
            constants: &[],
            slots: &[Slot::Input(1), Slot::Input(2), Slot::Input(4), Slot::Output(0), Slot::Output(1), memory],
            params: StartParams { total: total as u32, tokens, pitch, k: self.k, stride: stride as u32, short: short.into(), objective },
            groups: total.div_ceil(256),
        })?;
        if self.k == 0 {
            return Ok(());
        }
        let (header, [unit]) = lowering.vectors(Elem::F32, channels, [Slot::Input(0)]);
        // Sums have the operations of the tile, so that they are the same wherever they are made.
        let staged = lowering.form(&GRAM, header) == Form::Staged;
        let elems = channels / header.width();
        let params = Params {
            groups: batch,
            parts: 1,
            first_batch: 0,
            first: 0,
            last: entries,
            tokens,
            channels: elems,
            k: self.k,
            rank,
            given_count,
            given_stride,
            stride: if short { stride } else { stride / 4 } as u32,
            wide: 0,
            objective,
            relevance,
            similarity: 1.0 - relevance,
        };
        let [weights, given, lengths, counts] = [2, 3, 4, 5].map(Slot::Input);
        let [indices, kept] = [0, 1].map(Slot::Output);
        if short {
            return lowering.dispatch(Call {
                shader: &SHORT_ROWS,
                header,
                constants: SHORT_ROWS.tunings[usize::from(staged)],
                slots: &[unit, weights, counts, given, indices, kept, memory],
                params,
                groups: u64::from(batch).div_ceil(64),
            });
        }
        let source = match serves || keeps_products(tokens, self.k, staged) {
            true => Source::Kept,
            false if staged && channels > 0 => Source::Staged,
            false => Source::Read,
        };
        // Of a step: the winner is found, then each tile's channels and columns are gone through.
        let read = if source == Source::Kept { 0 } else { channels };
        let persistent = tokens <= PERSISTENT.0
            && u64::from(tokens) * u64::from(read) <= PERSISTENT.1
            && u64::from(tokens) * u64::from(rank) <= PERSISTENT.1
            && source != Source::Staged;
        let tiles = fours.div_ceil(source.wide());
        // Four columns a turn as long as they fit into workgroup memory.
        let of_columns = rank.min(PIVOTS) / 4 + rank.saturating_sub(PIVOTS);
        let of_tile = u64::from(read / header.width()) + u64::from(of_columns) + 5;
        let turns = u64::from(fours.div_ceil(128)) + 1 + 32 + u64::from(tiles) * of_tile;
        let (parts, steps_each) = if persistent { (1, steps_of_dispatch(turns)) } else { (tiles, 1) };
        let (rows, gram) = if source == Source::Kept {
            let pairs = pairs(tokens);
            let rows = (MOST_PAIRS / pairs).clamp(1, u64::from(batch).max(1)) as u32;
            (rows, lowering.scratch(u64::from(rows) * pairs, Elem::F32))
        } else {
            (batch.max(1), lowering.scratch(0, Elem::F32))
        };
        for first_batch in (0..batch).step_by(rows as usize) {
            let rows = rows.min(batch - first_batch);
            if source == Source::Kept {
                let tiles = u64::from(tokens.div_ceil(64));
                let groups = u64::from(rows) * (tiles * (tiles + 1) / 2);
                let params = GramParams { groups: groups as u32, first_batch, tokens, channels: elems };
                let slots = &[unit, lengths, gram];
                lowering.dispatch(Call { shader: &GRAM, header, constants: &[], slots, params, groups })?;
            }
            if let Objective::FacilityLocation { additive } = self.objective {
                let parts = fours.div_ceil(16);
                let groups = u64::from(rows) * u64::from(parts);
                for first in 0..=self.k {
                    lowering.dispatch(Call {
                        shader: &GAINS,
                        header: Header::F32,
                        constants: GAINS.tunings[usize::from(additive)],
                        slots: &[counts, given, indices, kept, memory, gram],
                        params: Params { groups: groups as u32, parts, first_batch, first, last: self.k, ..params },
                        groups,
                    })?;
                }
                continue;
            }
            let groups = u64::from(rows) * u64::from(parts);
            for first in (0..self.k).step_by(steps_each as usize) {
                let last = first.saturating_add(steps_each).min(self.k);
                lowering.dispatch(Call {
                    shader: &SELECT,
                    header,
                    constants: SELECT.tunings[source as usize],
                    slots: &[unit, counts, given, indices, kept, memory, gram],
                    params: Params { groups: groups as u32, parts, first_batch, first, last, wide: source.wide(), ..params },
                    groups,
                })?;
            }
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

/// Numbers of the matrix of a batch row: whole tiles.
fn pairs(tokens: u32) -> u64 {
    u64::from(tokens).next_multiple_of(64).saturating_pow(2)
}

/// Whether the products of all pairs are made and kept. It does not change what is selected.
fn keeps_products(tokens: u32, k: u32, staged: bool) -> bool {
    pairs(tokens) <= MOST_PAIRS && u64::from(tokens) <= ROWS_OF_A_TOKEN[usize::from(staged)] * u64::from(k)
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
