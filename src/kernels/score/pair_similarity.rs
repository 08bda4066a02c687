//! The cosine of every token and the one that it is paired with.

use crate::checks::expect;
use crate::compare::Comparison;
use crate::device::{BindingElem, Call, Header, Include, Lowering, Shader, Slot, params};
use crate::error::Error;
use crate::graph::{Graph, Kernel, Tensor};
use crate::kernels::Normalized;
use crate::kernels::operands::{lengths_or_full, list, list_of};
use crate::pattern::{Pattern, Piece};
use crate::reference::{self, Pairs};
use crate::tensor::{Desc, Elem, HostTensor, NONE};

params! {
    struct Params {
        rows: u32,
        tokens: u32,
        /// In elems.
        channels: u32,
        previous_stride: u32,
    }
}

pub(super) static PAIR_SIMILARITY: Shader = Shader {
    name: "pair_similarity",
    source: include_str!("../../../shaders/score/pair_similarity.wgsl"),
    includes: &[Include::Order],
    headers: &[Header::F32, Header::F32x4],
    inputs: &[("unit", BindingElem::Elem), ("norm", BindingElem::F32), ("previous", BindingElem::U32), ("lengths", BindingElem::U32)],
    outputs: &[("similarity", BindingElem::F32)],
    params: Params::NAMES,
    tunings: &[&[]],
};

/// Cosines of pairs of tokens.
#[derive(Debug, Clone, Copy)]
struct PairSimilarity;

/// The token `offset` places before each of `tokens`, u32 `[tokens]`; [`NONE`](crate::NONE) for the first ones.
///
/// An offset of 1 is the neighbour in a sequence. An offset of a frame's tokens is the same place in the frame before. Cost: none
/// on the GPU, where it is a constant.
///
/// ```
/// use tokenpress::kernels::previous_at;
/// use tokenpress::{Graph, NONE};
///
/// let mut graph = Graph::new();
/// let previous = previous_at(&mut graph, 4, 2);
/// graph.output("previous", previous)?;
/// assert_eq!(graph.run_reference(&[].into())?["previous"].integers(), [NONE, NONE, 0, 1]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
pub fn previous_at(graph: &mut Graph, tokens: u32, offset: u32) -> Tensor {
    let before = Piece { end: u32::MAX, first: 0, step: 1 };
    let pattern = Pattern::Pieces([Piece { end: offset, first: NONE, step: 0 }, before, before]);
    graph.pattern(Desc::new([tokens], Elem::U32), pattern)
}

/// `similarity[b, i] = unit[b, i] . unit[b, previous[b, i]]`, f32 `[B, N]`: the cosine of each token and one other.
///
/// `normalized` comes from [`row_normalize`](crate::kernels::row_normalize()) on a metric `[B, N, C]`. `previous` is u32 `[B, N]`, or `[N]`
/// for all rows, as [`previous_at`] makes it. The first `lengths[b]` (u32 `[B]`, all for `None`) tokens are alive.
///
/// - A zero row has similarity 0.
/// - A pair with a NaN or an infinity has NaN.
/// - A token whose partner is none or dead has -infinity: it is like nothing.
/// - A dead token has 0.
///
/// Cost: one dispatch, `2 B N C` operations. Two rows are read for each token, one of them mostly from cache.
///
/// ```
/// use tokenpress::kernels::{pair_similarity, previous_at, row_normalize};
/// use tokenpress::{Elem, Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// let x = graph.input("x", [1, 3, 2], Elem::F32);
/// let normalized = row_normalize(&mut graph, x, None)?;
/// let previous = previous_at(&mut graph, 3, 1);
/// let similarity = pair_similarity(&mut graph, normalized, previous, None)?;
/// graph.output("similarity", similarity)?;
/// let x = HostTensor::f32([1, 3, 2], vec![2.0, 0.0, 5.0, 0.0, 0.0, 1.0]);
/// let out = graph.run_reference(&[("x".to_owned(), x)].into())?;
/// assert_eq!(out["similarity"].floats(), [f32::NEG_INFINITY, 1.0, 0.0]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[doc(alias("cosine_similarity", "cosine"))]
pub fn pair_similarity(graph: &mut Graph, normalized: Normalized, previous: Tensor, lengths: Option<Tensor>) -> Result<Tensor, Error> {
    let [batch, tokens, _] = normalized.unit.shape().exactly("pair_similarity: unit", "[B, N, C]")?;
    let lengths = lengths_or_full(graph, lengths, batch, tokens);
    Ok(graph.call(PairSimilarity, &[normalized.unit, normalized.norm, previous, lengths])?[0])
}

/// `of` the pairs of every batch row.
fn each<T>(inputs: &[&HostTensor], of: impl Fn(&Pairs<'_>) -> Vec<T>) -> Vec<T> {
    let [batch, tokens, channels] = inputs[0].dims();
    let (unit, norm) = (inputs[0].floats(), inputs[1].floats());
    let row = |b: usize| Pairs {
        unit: &unit[b * tokens * channels..][..tokens * channels],
        norm: &norm[b * tokens..][..tokens],
        channels,
        previous: list_of(inputs[2], b),
        live: inputs[3].integers()[b],
    };
    (0..batch).flat_map(|b| of(&row(b))).collect()
}

impl Kernel for PairSimilarity {
    fn name(&self) -> &'static str {
        "pair_similarity"
    }

    fn output_names(&self) -> &'static [&'static str] {
        &["similarity"]
    }

    fn outputs(&self, inputs: &[Desc]) -> Result<Vec<Desc>, Error> {
        let [batch, tokens, _] = inputs[0].shape.exactly("pair_similarity: unit", "[B, N, C]")?;
        expect("pair_similarity: unit", inputs[0], Desc { elem: Elem::F32, ..inputs[0] })?;
        expect("pair_similarity: norm", inputs[1], Desc::new([batch, tokens], Elem::F32))?;
        let (entries, _) = list("pair_similarity: previous", inputs[2], batch)?;
        if entries != tokens {
            let expected = format!("[{tokens}] or [{batch}, {tokens}]");
            return Err(Error::Shape { argument: "pair_similarity: previous", expected, actual: inputs[2].shape });
        }
        expect("pair_similarity: lengths", inputs[3], Desc::new([batch], Elem::U32))?;
        Ok(vec![Desc::new([batch, tokens], Elem::F32)])
    }

    fn reference(&self, inputs: &[&HostTensor]) -> Vec<HostTensor> {
        vec![HostTensor::f32(inputs[1].shape(), each(inputs, reference::pair_similarity))]
    }

    fn batched_inputs(&self, inputs: &[Desc]) -> Option<Vec<bool>> {
        Some(vec![true, true, inputs[2].shape.dims().len() == 2, true])
    }

    fn flops(&self, inputs: &[Desc]) -> u64 {
        2 * inputs[0].shape.elements()
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<(), Error> {
        let [batch, tokens, channels] = lowering.input(0).shape.exactly("pair_similarity: unit", "[B, N, C]")?;
        let (_, previous_stride) = list("pair_similarity: previous", lowering.input(2), batch)?;
        let (header, [unit]) = lowering.vectors(Elem::F32, channels, [Slot::Input(0)]);
        let rows = u64::from(batch) * u64::from(tokens);
        lowering.dispatch(Call {
            shader: &PAIR_SIMILARITY,
            header,
            constants: &[],
            slots: &[unit, Slot::Input(1), Slot::Input(2), Slot::Input(3), Slot::Output(0)],
            params: Params { rows: rows as u32, tokens, channels: channels / header.width(), previous_stride },
            groups: rows.div_ceil(16),
        })
    }

    fn compare(&self, inputs: &[&HostTensor], expected: &[HostTensor], actual: &[HostTensor]) -> Vec<Comparison> {
        vec![Comparison::within(&expected[0], &actual[0], &each(inputs, reference::pair_similarity_bound))]
    }
}
