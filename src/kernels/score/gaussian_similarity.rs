//! How near every token is to a centre.

use crate::checks::expect;
use crate::compare::Comparison;
use crate::device::{BindingElem, Call, Header, Include, Lowering, Shader, Slot, params};
use crate::error::Error;
use crate::graph::{Graph, Kernel, Tensor};
use crate::kernels::operands::lengths_or_full;
use crate::reference;
use crate::tensor::{Desc, Elem, HostTensor};

params! {
    struct Params {
        rows: u32,
        tokens: u32,
        /// In elems.
        channels: u32,
    }
}

pub(super) static GAUSSIAN_SIMILARITY: Shader = Shader {
    name: "gaussian_similarity",
    source: include_str!("../../../shaders/score/gaussian_similarity.wgsl"),
    includes: &[Include::Order],
    headers: &[Header::F32, Header::F32x4],
    inputs: &[("x", BindingElem::Elem), ("centers", BindingElem::Elem), ("lengths", BindingElem::U32)],
    outputs: &[("similarity", BindingElem::F32)],
    params: Params::NAMES,
    tunings: &[&[]],
};

/// Nearness to a centre.
#[derive(Debug, Clone, Copy)]
struct GaussianSimilarity;

/// How near every token is to a centre: f32 `[B, N]`, 5 at the centre and 0 far away.
///
/// ```text
/// similarity[b, i] = sum_k exp(-|x[b, i] - centers[b]|^2 / (2 2^k))       k from -3 to 1
/// ```
///
/// `x` is f32 `[B, N, C]`, `centers` f32 `[B, C]`. The first `lengths[b]` tokens are alive (u32 `[B]`, all for `None`); dead ones
/// get 0. It is the measure of VidCom2, `https://arxiv.org/abs/2505.14454`.
///
/// A NaN in a token or its centre gives NaN, and so do equal infinities in both. Any other infinity gives 0.
///
/// Cost: one dispatch, one read of x.
///
/// ```
/// use tokenpress::kernels::gaussian_similarity;
/// use tokenpress::{Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// let x = graph.constant(HostTensor::f32([1, 2, 1], vec![3.0, 1000.0]));
/// let center = graph.constant(HostTensor::f32([1, 1], vec![3.0]));
/// let similarity = gaussian_similarity(&mut graph, x, center, None)?;
/// graph.output("similarity", similarity)?;
/// assert_eq!(graph.run_reference(&[].into())?["similarity"].floats(), [5.0, 0.0]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[doc(alias("rbf", "gaussian_kernel"))]
pub fn gaussian_similarity(graph: &mut Graph, x: Tensor, centers: Tensor, lengths: Option<Tensor>) -> Result<Tensor, Error> {
    let [batch, tokens, _] = x.shape().exactly("gaussian_similarity: x", "[B, N, C]")?;
    let lengths = lengths_or_full(graph, lengths, batch, tokens);
    Ok(graph.call(GaussianSimilarity, &[x, centers, lengths])?[0])
}

/// Similarity of every token and its error, `[B, N]`.
fn each(inputs: &[&HostTensor]) -> Vec<(f64, f64)> {
    let [batch, tokens, channels] = inputs[0].dims();
    let (x, centers) = (inputs[0].floats(), inputs[1].floats());
    let one = |at: usize| match at % tokens < inputs[2].integers()[at / tokens] as usize {
        true => reference::gaussian_similarity(&x[at * channels..][..channels], &centers[at / tokens * channels..][..channels]),
        false => (0.0, 0.0),
    };
    (0..batch * tokens).map(one).collect()
}

impl Kernel for GaussianSimilarity {
    fn name(&self) -> &'static str {
        "gaussian_similarity"
    }

    fn output_names(&self) -> &'static [&'static str] {
        &["similarity"]
    }

    fn outputs(&self, inputs: &[Desc]) -> Result<Vec<Desc>, Error> {
        let [batch, tokens, channels] = inputs[0].shape.exactly("gaussian_similarity: x", "[B, N, C]")?;
        expect("gaussian_similarity: x", inputs[0], Desc { elem: Elem::F32, ..inputs[0] })?;
        expect("gaussian_similarity: centers", inputs[1], Desc::new([batch, channels], Elem::F32))?;
        expect("gaussian_similarity: lengths", inputs[2], Desc::new([batch], Elem::U32))?;
        Ok(vec![Desc::new([batch, tokens], Elem::F32)])
    }

    fn reference(&self, inputs: &[&HostTensor]) -> Vec<HostTensor> {
        let [batch, tokens, _] = inputs[0].dims();
        vec![HostTensor::f32([batch as u32, tokens as u32], each(inputs).iter().map(|v| v.0 as f32).collect())]
    }

    fn batched_inputs(&self, _inputs: &[Desc]) -> Option<Vec<bool>> {
        Some(vec![true; 3])
    }

    fn flops(&self, inputs: &[Desc]) -> u64 {
        3 * inputs[0].shape.elements()
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<(), Error> {
        let [batch, tokens, channels] = lowering.input(0).shape.exactly("gaussian_similarity: x", "[B, N, C]")?;
        let (header, [x, means]) = lowering.vectors(Elem::F32, channels, [Slot::Input(0), Slot::Input(1)]);
        let rows = u64::from(batch) * u64::from(tokens);
        lowering.dispatch(Call {
            shader: &GAUSSIAN_SIMILARITY,
            header,
            constants: &[],
            slots: &[x, means, Slot::Input(2), Slot::Output(0)],
            params: Params { rows: rows as u32, tokens, channels: channels / header.width() },
            groups: rows.div_ceil(16),
        })
    }

    fn compare(&self, inputs: &[&HostTensor], expected: &[HostTensor], actual: &[HostTensor]) -> Vec<Comparison> {
        let bounds: Vec<f64> = each(inputs).iter().map(|v| v.1).collect();
        vec![Comparison::within(&expected[0], &actual[0], &bounds)]
    }
}
