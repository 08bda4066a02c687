//! Which pairs of tokens are near.

use crate::checks::expect;
use crate::compare::{Comparison, Worst};
use crate::device::{BindingElem, Call, Header, Include, Lowering, Shader, Slot, params};
use crate::error::Error;
use crate::graph::{Graph, Kernel, Tensor};
use crate::kernels::Normalized;
use crate::kernels::operands::lengths_or_full;
use crate::options;
use crate::reference::{self, Vicinity};
use crate::tensor::{Desc, Elem, HostTensor, NONE};

params! {
    struct Params {
        /// Of 64 tokens, in the whole batch.
        tiles: u32,
        tokens: u32,
        /// In elems.
        channels: u32,
        threshold: f32,
    }
}

pub(super) static NEAR_PAIRS: Shader = Shader {
    name: "near_pairs",
    source: include_str!("../../../shaders/score/near_pairs.wgsl"),
    includes: &[Include::Order, Include::TileLanes, Include::Products, Include::Tile, Include::RowFacts],
    headers: &[Header::F32, Header::F32x4],
    inputs: &[("unit", BindingElem::Elem), ("norm", BindingElem::F32), ("lengths", BindingElem::U32)],
    outputs: &[("pairs", BindingElem::U32), ("degree", BindingElem::U32), ("last", BindingElem::U32)],
    params: Params::NAMES,
    tunings: &[&[("OR_EQUAL", 0)], &[("OR_EQUAL", 1)]],
};

/// Finds the pairs of tokens whose cosine is above a threshold, as bits.
///
/// ```text
/// bit j of pairs[b, i] = cos(x_i, x_j) > threshold        i != j, both alive
/// ```
///
/// It is what [`components`](crate::kernels::components) and [`cover`](crate::kernels::cover) read.
///
/// Cost: one dispatch, `2 B N^2 C` operations; `B N^2 / 8` bytes are written. The cosines are never in memory.
///
/// ```
/// use tokenpress::kernels::{NearPairs, row_normalize};
/// use tokenpress::{Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// let x = graph.constant(HostTensor::f32([1, 3, 2], vec![1.0, 0.0, 0.0, 2.0, 3.0, 0.1]));
/// let normalized = row_normalize(&mut graph, x, None)?;
/// let near = NearPairs { threshold: 0.9, or_equal: false }.build(&mut graph, normalized, None)?;
/// graph.output("pairs", near.pairs)?;
/// assert_eq!(graph.run_reference(&[].into())?["pairs"].integers(), [0b100, 0, 0b001]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[doc(alias("adjacency", "graph", "radius"))]
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NearPairs {
    /// The cosine above which tokens are near; not NaN.
    pub threshold: f32,
    /// Whether those of exactly so much are near too.
    pub or_equal: bool,
}

/// What [`NearPairs::build`] gives.
#[derive(Debug, Clone, Copy)]
pub struct Near {
    /// u32 `[B, N, ceil(N / 32)]`: bit `j % 32` of word `j / 32` of token i is 1 if i and j are near.
    pub pairs: Tensor,
    /// How many tokens each is near, u32 `[B, N]`.
    pub degree: Tensor,
    /// The last token that each is near, u32 `[B, N]`; [`NONE`](crate::NONE) for a token that is near none.
    pub last: Tensor,
}

impl NearPairs {
    /// `normalized` comes from [`row_normalize`](crate::kernels::row_normalize()) on the features `[B, N, C]`. The first `lengths[b]` tokens
    /// are alive (u32 `[B]`, all for `None`).
    ///
    /// A token is not near itself, and one with a NaN or an infinity near none. A zero row has cosine 0 to all.
    pub fn build(self, graph: &mut Graph, normalized: Normalized, lengths: Option<Tensor>) -> Result<Near, Error> {
        let [batch, tokens, _] = normalized.unit.shape().exactly("near_pairs: unit", "[B, N, C]")?;
        let lengths = lengths_or_full(graph, lengths, batch, tokens);
        let outputs = graph.call(self, &[normalized.unit, normalized.norm, lengths])?;
        Ok(Near { pairs: outputs[0], degree: outputs[1], last: outputs[2] })
    }

    /// `of` the tokens of every batch row.
    fn each<T>(self, inputs: &[&HostTensor], of: impl Fn(usize, &Vicinity<'_>) -> T) -> Vec<T> {
        let [batch, tokens, channels] = inputs[0].dims();
        let (unit, norm) = (inputs[0].floats(), inputs[1].floats());
        let row = |b: usize| Vicinity {
            unit: &unit[b * tokens * channels..][..tokens * channels],
            norm: &norm[b * tokens..][..tokens],
            channels,
            live: inputs[2].integers()[b] as usize,
            threshold: self.threshold,
            or_equal: self.or_equal,
        };
        (0..batch).map(|b| of(b, &row(b))).collect()
    }
}

impl Kernel for NearPairs {
    fn name(&self) -> &'static str {
        "near_pairs"
    }

    fn output_names(&self) -> &'static [&'static str] {
        &["pairs", "degree", "last"]
    }

    fn outputs(&self, inputs: &[Desc]) -> Result<Vec<Desc>, Error> {
        let [batch, tokens, channels] = inputs[0].shape.exactly("near_pairs: unit", "[B, N, C]")?;
        expect("near_pairs: unit", inputs[0], Desc::new([batch, tokens, channels], Elem::F32))?;
        expect("near_pairs: norm", inputs[1], Desc::new([batch, tokens], Elem::F32))?;
        expect("near_pairs: lengths", inputs[2], Desc::new([batch], Elem::U32))?;
        options::threshold("near_pairs: threshold", self.threshold)?;
        let of_tokens = Desc::new([batch, tokens], Elem::U32);
        Ok(vec![Desc::new([batch, tokens, tokens.div_ceil(32)], Elem::U32), of_tokens, of_tokens])
    }

    fn reference(&self, inputs: &[&HostTensor]) -> Vec<HostTensor> {
        let near = self.each(inputs, |_, row| reference::near_pairs(row));
        let [batch, tokens, _] = inputs[0].dims().map(|d| d as u32);
        let of_tokens = |of: fn(&reference::Near) -> &[u32]| near.iter().flat_map(of).copied().collect();
        vec![
            HostTensor::u32([batch, tokens, tokens.div_ceil(32)], of_tokens(|row| &row.pairs)),
            HostTensor::u32([batch, tokens], of_tokens(|row| &row.degree)),
            HostTensor::u32([batch, tokens], of_tokens(|row| &row.last)),
        ]
    }

    fn batched_inputs(&self, _inputs: &[Desc]) -> Option<Vec<bool>> {
        Some(vec![true; 3])
    }

    fn flops(&self, inputs: &[Desc]) -> u64 {
        2 * inputs[0].shape.elements().saturating_mul(u64::from(inputs[0].shape.dims()[1]))
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<(), Error> {
        let [batch, tokens, channels] = lowering.input(0).shape.exactly("near_pairs: unit", "[B, N, C]")?;
        let (header, [unit]) = lowering.vectors(Elem::F32, channels, [Slot::Input(0)]);
        let tiles = u64::from(batch) * u64::from(tokens.div_ceil(64));
        lowering.dispatch(Call {
            shader: &NEAR_PAIRS,
            header,
            constants: NEAR_PAIRS.tunings[usize::from(self.or_equal)],
            slots: &[unit, Slot::Input(1), Slot::Input(2), Slot::Output(0), Slot::Output(1), Slot::Output(2)],
            params: Params { tiles: tiles as u32, tokens, channels: channels / header.width(), threshold: self.threshold },
            groups: tiles,
        })
    }

    /// A bit may be either where the cosine is as near to the threshold as rounding explains. A degree is the number of bits, and the last token that of the highest.
    fn compare(&self, inputs: &[&HostTensor], expected: &[HostTensor], actual: &[HostTensor]) -> Vec<Comparison> {
        let [_, tokens, words] = expected[0].dims();
        let (bits, actual_bits) = (expected[0].integers(), actual[0].integers());
        let open = self.each(inputs, |_, row| {
            let mut open = vec![0u32; tokens * words];
            for (i, j) in (0..tokens).flat_map(|i| (0..tokens).map(move |j| (i, j))) {
                open[i * words + j / 32] |= u32::from(row.may_differ(i, j)[1]) << (j % 32);
            }
            open
        });
        let open = open.concat();
        let judge_bits = |index: usize| {
            let wrong = (bits[index] ^ actual_bits[index]) & !open[index];
            Worst { index, expected: f64::from(wrong), actual: 0.0, bound: 0.0 }
        };
        let judge_degree = |index: usize| {
            let ones: u32 = actual_bits[index * words..][..words].iter().map(|word| word.count_ones()).sum();
            Worst { index, expected: f64::from(ones), actual: f64::from(actual[1].integers()[index]), bound: 0.0 }
        };
        let judge_last = |index: usize| {
            let highest = (0..tokens).rev().find(|j| actual_bits[index * words + j / 32] >> (j % 32) & 1 == 1).map_or(NONE, |j| j as u32);
            Worst { index, expected: f64::from(highest), actual: f64::from(actual[2].integers()[index]), bound: 0.0 }
        };
        vec![
            Comparison::judged(&expected[0], &actual[0], judge_bits),
            Comparison::judged(&expected[1], &actual[1], judge_degree),
            Comparison::judged(&expected[2], &actual[2], judge_last),
        ]
    }
}
