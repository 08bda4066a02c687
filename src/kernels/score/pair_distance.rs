//! The distance of every token and the one that it is paired with.

use crate::checks::expect;
use crate::compare::Comparison;
use crate::device::{BindingElem, Call, Header, Include, Lowering, Shader, Slot, params};
use crate::error::Error;
use crate::graph::{Graph, Kernel, Tensor};
use crate::kernels::operands::{lengths_or_full, list, list_of};
use crate::reference;
pub use crate::reference::Distance;
use crate::tensor::{Desc, Elem, HostTensor};

params! {
    struct Params {
        rows: u32,
        tokens: u32,
        /// In elems.
        channels: u32,
        previous_stride: u32,
        /// Channels as a divisor.
        count: f32,
    }
}

pub(super) static PAIR_DISTANCE: Shader = Shader {
    name: "pair_distance",
    source: include_str!("../../../shaders/score/pair_distance.wgsl"),
    includes: &[Include::Order],
    headers: &[Header::F32, Header::F16, Header::F32x4, Header::F16x4],
    inputs: &[("x", BindingElem::Elem), ("previous", BindingElem::U32), ("lengths", BindingElem::U32)],
    outputs: &[("distance", BindingElem::F32)],
    params: Params::NAMES,
    tunings: &[&[("MEASURE", 0)], &[("MEASURE", 1)], &[("MEASURE", 2)]],
};

/// Distances of pairs of tokens.
#[derive(Debug, Clone, Copy)]
struct PairDistance {
    measure: Distance,
}

/// How far each token is from one other, f32 `[B, N]`.
///
/// ```text
/// d_c = |x[b, i, c] - x[b, previous[b, i], c]|        the largest, the mean, or the root of the mean of squares, over the channels c
/// ```
///
/// `x` is `[B, N, C]`, f32, f16 or bf16. `previous` is u32 `[B, N]`, or `[N]` for all rows, as
/// [`previous_at`](crate::kernels::previous_at) makes it. The first `lengths[b]` (u32 `[B]`, all for `None`) tokens are alive.
///
/// - Equal rows are exactly 0 apart.
/// - A pair with a NaN or an infinity has NaN.
/// - A token whose partner is none or dead has +infinity: it is far from everything.
/// - A dead token has 0.
/// - A sum beyond f32's range is infinite.
///
/// Cost: one dispatch, `3 B N C` operations. Two rows are read for each token, one of them mostly from cache.
///
/// ```
/// use tokenpress::kernels::{Distance, pair_distance, previous_at};
/// use tokenpress::{Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// let x = graph.constant(HostTensor::f32([1, 3, 2], vec![2.0, 0.0, 5.0, 1.0, 5.0, 1.0]));
/// let previous = previous_at(&mut graph, 3, 1);
/// let distance = pair_distance(&mut graph, x, previous, Distance::MeanAbsolute, None)?;
/// graph.output("distance", distance)?;
/// assert_eq!(graph.run_reference(&[].into())?["distance"].floats(), [f32::INFINITY, 2.0, 0.0]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[doc(alias("l1", "chebyshev", "rmse", "difference"))]
pub fn pair_distance(graph: &mut Graph, x: Tensor, previous: Tensor, measure: Distance, lengths: Option<Tensor>) -> Result<Tensor, Error> {
    let [batch, tokens, _] = x.shape().exactly("pair_distance: x", "[B, N, C]")?;
    let lengths = lengths_or_full(graph, lengths, batch, tokens);
    Ok(graph.call(PairDistance { measure }, &[x, previous, lengths])?[0])
}

/// `of` each token's row and its partner's. A dead token gives `dead`, one without a live partner gives `alone`.
fn each(inputs: &[&HostTensor], dead: f64, alone: f64, of: impl Fn(&[f32], &[f32]) -> f64) -> Vec<f64> {
    let [batch, tokens, channels] = inputs[0].dims();
    let x = inputs[0].floats();
    let one = |b: usize, token: usize| {
        let row = |token: usize| &x[(b * tokens + token) * channels..][..channels];
        let live = tokens.min(inputs[2].integers()[b] as usize);
        match list_of(inputs[1], b)[token] as usize {
            _ if token >= live => dead,
            other if other >= live => alone,
            other => of(row(token), row(other)),
        }
    };
    (0..batch).flat_map(|b| (0..tokens).map(move |token| (b, token))).map(|(b, token)| one(b, token)).collect()
}

impl Kernel for PairDistance {
    fn name(&self) -> &'static str {
        "pair_distance"
    }

    fn output_names(&self) -> &'static [&'static str] {
        &["distance"]
    }

    fn outputs(&self, inputs: &[Desc]) -> Result<Vec<Desc>, Error> {
        let [batch, tokens, _] = inputs[0].shape.exactly("pair_distance: x", "[B, N, C]")?;
        if !inputs[0].elem.is_float() {
            return Err(Error::Elem { argument: "pair_distance: x", expected: "f32, f16 or bf16", actual: inputs[0].elem });
        }
        let (entries, _) = list("pair_distance: previous", inputs[1], batch)?;
        if entries != tokens {
            let expected = format!("[{tokens}] or [{batch}, {tokens}]");
            return Err(Error::Shape { argument: "pair_distance: previous", expected, actual: inputs[1].shape });
        }
        expect("pair_distance: lengths", inputs[2], Desc::new([batch], Elem::U32))?;
        Ok(vec![Desc::new([batch, tokens], Elem::F32)])
    }

    fn reference(&self, inputs: &[&HostTensor]) -> Vec<HostTensor> {
        let [batch, tokens, _] = inputs[0].dims();
        let distances = each(inputs, 0.0, f64::INFINITY, |a, b| reference::distance(a, b, self.measure));
        vec![HostTensor::f32([batch as u32, tokens as u32], distances.into_iter().map(|d| d as f32).collect())]
    }

    fn batched_inputs(&self, inputs: &[Desc]) -> Option<Vec<bool>> {
        Some(vec![true, inputs[1].shape.dims().len() == 2, true])
    }

    fn flops(&self, inputs: &[Desc]) -> u64 {
        3 * inputs[0].shape.elements()
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<(), Error> {
        let [batch, tokens, channels] = lowering.input(0).shape.exactly("pair_distance: x", "[B, N, C]")?;
        let (_, previous_stride) = list("pair_distance: previous", lowering.input(1), batch)?;
        let (header, [x]) = lowering.vectors(lowering.input(0).elem, channels, [Slot::Input(0)]);
        let rows = u64::from(batch) * u64::from(tokens);
        lowering.dispatch(Call {
            shader: &PAIR_DISTANCE,
            header,
            constants: PAIR_DISTANCE.tunings[self.measure as usize],
            slots: &[x, Slot::Input(1), Slot::Input(2), Slot::Output(0)],
            params: Params {
                rows: rows as u32,
                tokens,
                channels: channels / header.width(),
                previous_stride,
                count: channels.max(1) as f32,
            },
            groups: rows.div_ceil(16),
        })
    }

    fn compare(&self, inputs: &[&HostTensor], expected: &[HostTensor], actual: &[HostTensor]) -> Vec<Comparison> {
        let exact = each(inputs, 0.0, f64::INFINITY, |a, b| reference::distance(a, b, self.measure));
        let bounds = each(inputs, 0.0, 0.0, |a, b| reference::distance_bound(a, b, self.measure));
        vec![Comparison::ranged(&expected[0], &actual[0], &exact, &bounds)]
    }
}
