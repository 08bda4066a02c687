//! Unit vectors and norms of token rows.

use crate::checks::expect;
use crate::compare::Comparison;
use crate::device::{BindingElem, Call, Header, Include, Lowering, Shader, Slot, params};
use crate::error::Error;
use crate::graph::{Graph, Kernel, Tensor};
use crate::kernels::operands::lengths_or_full;
use crate::reference;
use crate::tensor::{Desc, Elem, HostTensor, Shape};

params! {
    struct Params {
        rows: u32,
        tokens: u32,
        heads: u32,
        /// In elems.
        channels: u32,
    }
}

pub(super) static ROW_NORMALIZE: Shader = Shader {
    name: "row_normalize",
    source: include_str!("../../../shaders/score/row_normalize.wgsl"),
    includes: &[Include::Order],
    headers: &[Header::F32, Header::F16, Header::F32x4, Header::F16x4],
    inputs: &[("x", BindingElem::Elem), ("lengths", BindingElem::U32)],
    outputs: &[("unit", BindingElem::ElemF32), ("norm", BindingElem::F32)],
    params: Params::NAMES,
    tunings: &[&[]],
};

/// Divides rows by their norms.
#[derive(Debug, Clone, Copy)]
struct RowNormalize;

/// What [`row_normalize`] gives.
#[derive(Debug, Clone, Copy)]
pub struct Normalized {
    /// Rows of norm 1 (or 0), f32 `[B, N, C]`.
    pub unit: Tensor,
    /// Their norms before, f32 `[B, N]`; NaN for rows with a NaN or an infinity.
    pub norm: Tensor,
}

/// Divides each row by its length: `unit_i = x_i / |x_i|`, `norm_i = |x_i|`, with the 2-norm over the channels.
///
/// `x` is f32, f16 or bf16 `[B, N, C]`, or the keys of an attention `[B, H, N, C]`, whose mean over the heads is then normalised. Row i
/// of batch row b is alive while `i < lengths[b]` (u32 `[B]`, all N for `None`); dead rows give 0.
///
/// - A zero row stays zero, so that its similarity to everything is 0. No epsilon changes any other row.
/// - Each row is scaled by a power of two first. So no finite input overflows or underflows, and inputs that differ by a power of
///   two have bit-equal units. (A device may read a denormal channel as 0 if it is f16, or below 2^-66 of the row's largest.)
/// - A row with a NaN or an infinity has unit 0 and norm NaN.
/// - The norm saturates at the largest f32.
///
/// Cost: one dispatch; one read of x from memory and one from cache, one write of the outputs.
///
/// ```
/// use tokenpress::kernels::row_normalize;
/// use tokenpress::{Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// let x = graph.constant(HostTensor::f32([1, 2, 2], vec![3.0, 4.0, 0.0, 2.0]));
/// let normalized = row_normalize(&mut graph, x, None)?;
/// graph.output("unit", normalized.unit)?;
/// graph.output("norm", normalized.norm)?;
/// let out = graph.run_reference(&[].into())?;
/// assert_eq!(out["unit"].floats(), [0.6, 0.8, 0.0, 1.0]);
/// assert_eq!(out["norm"].floats(), [5.0, 2.0]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[doc(alias("l2_norm", "normalize", "unit_vector", "cosine"))]
pub fn row_normalize(graph: &mut Graph, x: Tensor, lengths: Option<Tensor>) -> Result<Normalized, Error> {
    let [batch, _, tokens, _] = dimensions(x.shape())?;
    let lengths = lengths_or_full(graph, lengths, batch, tokens);
    let outputs = graph.call(RowNormalize, &[x, lengths])?;
    Ok(Normalized { unit: outputs[0], norm: outputs[1] })
}

/// Batch, heads, tokens and channels.
fn dimensions(shape: Shape) -> Result<[u32; 4], Error> {
    match *shape.dims() {
        [batch, tokens, channels] => Ok([batch, 1, tokens, channels]),
        [batch, heads, tokens, channels] if heads > 0 => Ok([batch, heads, tokens, channels]),
        _ => Err(Error::Shape {
            argument: "row_normalize: x",
            expected: "[B, N, C] or [B, H, N, C] with H at least 1".to_owned(),
            actual: shape,
        }),
    }
}

impl RowNormalize {
    /// Values, lengths, and the dimensions of a batch row.
    fn unpack<'a>(&self, inputs: &[&'a HostTensor]) -> (Vec<f32>, &'a [u32], [usize; 3]) {
        let shape = inputs[0].shape();
        let [heads, tokens, channels] = match *shape.dims() {
            [_, heads, tokens, channels] => [heads, tokens, channels],
            ref dims => [1, dims[1], dims[2]],
        };
        let [heads, tokens, channels] = [heads, tokens, channels].map(|d| d as usize);
        (inputs[0].floats(), inputs[1].integers(), [heads, tokens, channels])
    }
}

impl Kernel for RowNormalize {
    fn name(&self) -> &'static str {
        "row_normalize"
    }

    fn output_names(&self) -> &'static [&'static str] {
        &["unit", "norm"]
    }

    fn outputs(&self, inputs: &[Desc]) -> Result<Vec<Desc>, Error> {
        let [batch, _, tokens, channels] = dimensions(inputs[0].shape)?;
        if !inputs[0].elem.is_float() {
            return Err(Error::Elem { argument: "row_normalize: x", expected: "f32, f16 or bf16", actual: inputs[0].elem });
        }
        expect("row_normalize: lengths", inputs[1], Desc::new([batch], Elem::U32))?;
        Ok(vec![Desc::new([batch, tokens, channels], Elem::F32), Desc::new([batch, tokens], Elem::F32)])
    }

    fn reference(&self, inputs: &[&HostTensor]) -> Vec<HostTensor> {
        let (x, lengths, dims) = self.unpack(inputs);
        let [batch, tokens, channels] = [lengths.len() as u32, dims[1] as u32, dims[2] as u32];
        let (unit, norm) = reference::row_normalize(&x, lengths, dims);
        vec![HostTensor::f32([batch, tokens, channels], unit), HostTensor::f32([batch, tokens], norm)]
    }

    fn batched_inputs(&self, _inputs: &[Desc]) -> Option<Vec<bool>> {
        Some(vec![true, true])
    }

    fn flops(&self, inputs: &[Desc]) -> u64 {
        // Sum over heads, square, sum, divide.
        let rows_and_channels = dimensions(inputs[0].shape).map_or(0, |[b, _, n, c]| u64::from(b) * u64::from(n) * u64::from(c));
        inputs[0].shape.elements() + 2 * rows_and_channels
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<(), Error> {
        let [batch, heads, tokens, channels] = dimensions(lowering.input(0).shape)?;
        let rows = u64::from(batch) * u64::from(tokens);
        let (header, [x, unit]) = lowering.vectors(lowering.input(0).elem, channels, [Slot::Input(0), Slot::Output(0)]);
        lowering.dispatch(Call {
            shader: &ROW_NORMALIZE,
            header,
            constants: &[],
            slots: &[x, Slot::Input(1), unit, Slot::Output(1)],
            params: Params { rows: rows as u32, tokens, heads, channels: channels / header.width() },
            groups: rows.div_ceil(16),
        })
    }

    fn compare(&self, inputs: &[&HostTensor], expected: &[HostTensor], actual: &[HostTensor]) -> Vec<Comparison> {
        let (x, lengths, dims) = self.unpack(inputs);
        let (unit, norm) = reference::row_normalize_bounds(&x, lengths, dims);
        vec![Comparison::within(&expected[0], &actual[0], &unit), Comparison::within(&expected[1], &actual[1], &norm)]
    }
}
