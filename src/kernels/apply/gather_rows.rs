//! Rows by index.

use crate::device::{BindingElem, Call, Header, Include, Lowering, Shader, Slot, params};
use crate::error::Error;
use crate::graph::{Graph, Kernel, Tensor};
use crate::kernels::invert_index;
use crate::reference;
use crate::tensor::{Desc, Elem, Element, HostTensor, NONE, Shape, with_element};

params! {
    struct Params {
        /// Batch * heads * rows.
        all_rows: u32,
        lanes_log2: u32,
        /// In elems.
        width: u32,
        rows: u32,
        heads: u32,
        source_rows: u32,
        index_stride: u32,
        empty: u32,
    }
}

params! {
    struct FallbackParams {
        /// Batch * heads * rows.
        all_rows: u32,
        lanes_log2: u32,
        /// In elems.
        width: u32,
        rows: u32,
        heads: u32,
        source_rows: u32,
        index_stride: u32,
    }
}

pub(super) static GATHER: Shader = Shader {
    name: "gather_rows",
    source: include_str!("../../../shaders/apply/gather_rows.wgsl"),
    includes: &[Include::Ahead, Include::Moves],
    headers: &[Header::F16, Header::U32, Header::Words],
    inputs: &[("source", BindingElem::Elem), ("index", BindingElem::U32)],
    outputs: &[("gathered", BindingElem::Elem)],
    params: Params::NAMES,
    tunings: &[&[]],
};

pub(super) static FALLBACK: Shader = Shader {
    name: "gather_rows.fallback",
    source: include_str!("../../../shaders/apply/gather_rows.fallback.wgsl"),
    inputs: &[("source", BindingElem::Elem), ("index", BindingElem::U32), ("fallback", BindingElem::Elem)],
    params: FallbackParams::NAMES,
    ..GATHER
};

/// Moves of an invocation in a row that is long enough.
const MOVES: u32 = 8;

/// Copies tokens by index, bit for bit.
#[derive(Debug, Clone, Copy)]
struct GatherRows;

/// Tokens by index: `gathered[b, m] = source[b, index[b, m]]`, bit for bit.
///
/// `source` is `[B, N, C]` of any element type, `[B, N]` (one element a token), or `[B, H, N, D]` (heads that share the index).
/// `index` is u32 `[B, M]`, or `[M]` for all of the batch. The result has `M` in the place of `N`.
///
/// Where an index is N or above ([`NONE`] among them), row m is row m of `fallback`, which has the result's shape. Without a
/// fallback it is zeros, and [`NONE`] for u32.
///
/// Cost: one dispatch; each row is read once and written once, 16 bytes at a time where row size and offsets are multiples of 16.
///
/// ```
/// use tokenpress::kernels::gather_rows;
/// use tokenpress::{Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// let source = graph.constant(HostTensor::f32([1, 3, 2], vec![1.0, 1.5, 2.0, 2.5, 3.0, 3.5]));
/// let index = graph.constant(HostTensor::u32([1, 2], vec![2, 0]));
/// let gathered = gather_rows(&mut graph, source, index, None)?;
/// graph.output("gathered", gathered)?;
/// assert_eq!(graph.run_reference(&[].into())?["gathered"].floats(), [3.0, 3.5, 1.0, 1.5]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[doc(alias("gather", "index_select", "take", "batched_index_select"))]
pub fn gather_rows(graph: &mut Graph, source: Tensor, index: Tensor, fallback: Option<Tensor>) -> Result<Tensor, Error> {
    let inputs = [Some(source), Some(index), fallback];
    Ok(graph.call(GatherRows, &inputs.into_iter().flatten().collect::<Vec<_>>())?[0])
}

/// Puts tokens back: `base` with row `index[b, m]` replaced by `rows[b, m]`. The result is a new tensor of `base`'s shape.
///
/// `base` is `[B, N, C]`, `rows` `[B, M, C]`, `index` `[B, M]`; the ranks of [`gather_rows`] work here too. Of several rows for
/// one place the first wins. Indices of N and above are passed over.
///
/// Cost: [`invert_index`], then one read and one write of `base`.
///
/// ```
/// use tokenpress::kernels::scatter_rows;
/// use tokenpress::{Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// let base = graph.constant(HostTensor::f32([1, 3], vec![10.0, 20.0, 30.0]));
/// let rows = graph.constant(HostTensor::f32([1, 1], vec![7.0]));
/// let index = graph.constant(HostTensor::u32([1, 1], vec![1]));
/// let scattered = scatter_rows(&mut graph, base, rows, index)?;
/// graph.output("scattered", scattered)?;
/// assert_eq!(graph.run_reference(&[].into())?["scattered"].floats(), [10.0, 7.0, 30.0]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[doc(alias("scatter", "index_put", "index_copy"))]
pub fn scatter_rows(graph: &mut Graph, base: Tensor, rows: Tensor, index: Tensor) -> Result<Tensor, Error> {
    let [_, _, n, _] = dimensions(base.shape(), "scatter_rows: base")?;
    let [batch, _, m, _] = dimensions(rows.shape(), "scatter_rows: rows")?;
    if index.shape() != [batch, m].into() {
        return Err(Error::Shape { argument: "scatter_rows: index", expected: format!("[{batch}, {m}]"), actual: index.shape() });
    }
    let inverse = invert_index(graph, index, n)?;
    gather_rows(graph, rows, inverse, Some(base))
}

/// Batch, heads, tokens and width of a tensor of tokens.
fn dimensions(shape: Shape, argument: &'static str) -> Result<[u32; 4], Error> {
    match *shape.dims() {
        [b, n] => Ok([b, 1, n, 1]),
        [b, n, c] => Ok([b, 1, n, c]),
        [b, h, n, d] => Ok([b, h, n, d]),
        _ => Err(Error::Shape { argument, expected: "[B, N], [B, N, C] or [B, H, N, D]".to_owned(), actual: shape }),
    }
}

/// The same shape with another number of tokens.
fn with_tokens(shape: Shape, m: u32) -> Shape {
    match *shape.dims() {
        [b, _, c] => [b, m, c].into(),
        [b, h, _, d] => [b, h, m, d].into(),
        ref dims => [dims[0], m].into(),
    }
}

impl Kernel for GatherRows {
    fn name(&self) -> &'static str {
        "gather_rows"
    }

    fn output_names(&self) -> &'static [&'static str] {
        &["gathered"]
    }

    fn outputs(&self, inputs: &[Desc]) -> Result<Vec<Desc>, Error> {
        let (source, index) = (inputs[0], inputs[1]);
        let [batch, ..] = dimensions(source.shape, "gather_rows: source")?;
        if index.elem != Elem::U32 {
            return Err(Error::Elem { argument: "gather_rows: index", expected: "u32", actual: index.elem });
        }
        let m = match *index.shape.dims() {
            [m] => m,
            [b, m] if b == batch => m,
            _ => {
                return Err(Error::Shape { argument: "gather_rows: index", expected: format!("[{batch}, M] or [M]"), actual: index.shape });
            }
        };
        let output = Desc { shape: with_tokens(source.shape, m), elem: source.elem };
        if let Some(fallback) = inputs.get(2) {
            if fallback.shape != output.shape {
                return Err(Error::Shape { argument: "gather_rows: fallback", expected: output.shape.to_string(), actual: fallback.shape });
            }
            if fallback.elem != output.elem {
                return Err(Error::Elem {
                    argument: "gather_rows: fallback",
                    expected: "the source's element type",
                    actual: fallback.elem,
                });
            }
        }
        Ok(vec![output])
    }

    fn reference(&self, inputs: &[&HostTensor]) -> Vec<HostTensor> {
        fn run<T: Element>(inputs: &[&HostTensor]) -> HostTensor {
            let (source, index) = (inputs[0], inputs[1]);
            let m = *index.shape().dims().last().unwrap_or(&0);
            let shape = with_tokens(source.shape(), m);
            let [batch, dims @ ..] = match *source.shape().dims() {
                [b, n] => [b, 1, n, 1],
                [b, n, c] => [b, 1, n, c],
                ref dims => [dims[0], dims[1], dims[2], dims[3]],
            };
            let fallback = inputs.get(2).map(|t| T::slice(t));
            let dims = dims.map(|d| d as usize);
            T::tensor(
                shape,
                reference::gather_rows(T::slice(source), index.integers(), fallback, batch as usize, dims, m as usize, T::EMPTY),
            )
        }
        vec![with_element!(inputs[0].desc().elem, T => run::<T>(inputs))]
    }

    fn batched_inputs(&self, inputs: &[Desc]) -> Option<Vec<bool>> {
        let shared = inputs[1].shape.dims().len() == 1;
        Some([true, !shared, true][..inputs.len()].to_vec())
    }

    fn bytes(&self, inputs: &[Desc], outputs: &[Desc]) -> u64 {
        inputs[1].bytes() + 2 * outputs[0].bytes()
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<(), Error> {
        let (source, output) = (lowering.input(0), lowering.output(0));
        let [_, heads, source_rows, width] = dimensions(source.shape, "gather_rows: source")?;
        let [_, _, rows, _] = dimensions(output.shape, "gather_rows: gathered")?;
        let index_stride = if lowering.input(1).shape.dims().len() == 1 { 0 } else { rows };
        let fallback = lowering.inputs() == 3;

        let mut slots = vec![Slot::Input(0), Slot::Output(0)];
        slots.extend(fallback.then_some(Slot::Input(2)));
        let row_bytes = u64::from(width) * source.elem.size();
        let header = Header::copy(row_bytes, lowering.alignment(&slots));
        let width = (row_bytes / header.size()) as u32;
        let all_rows = if width == 0 { 0 } else { (output.bytes() / row_bytes) as u32 };
        let lanes_log2 = width.div_ceil(MOVES).next_power_of_two().min(128).trailing_zeros();
        let groups = u64::from(all_rows).div_ceil(128 >> lanes_log2);
        if fallback {
            let slots = [Slot::Input(0), Slot::Input(1), Slot::Input(2), Slot::Output(0)];
            let params = FallbackParams { all_rows, lanes_log2, width, rows, heads, source_rows, index_stride };
            lowering.dispatch(Call { shader: &FALLBACK, header, constants: &[], slots: &slots, params, groups })
        } else {
            let slots = [Slot::Input(0), Slot::Input(1), Slot::Output(0)];
            let empty = if source.elem == Elem::U32 { NONE } else { 0 };
            let params = Params { all_rows, lanes_log2, width, rows, heads, source_rows, index_stride, empty };
            lowering.dispatch(Call { shader: &GATHER, header, constants: &[], slots: &slots, params, groups })
        }
    }
}
