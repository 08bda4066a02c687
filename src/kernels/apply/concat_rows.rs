//! Two ragged batches, one after the other.

use crate::device::{BindingElem, Call, Header, Include, Lowering, Shader, Slot, params};
use crate::error::Error;
use crate::graph::{Graph, Kernel, Tensor};
use crate::kernels::operands::lengths_or_full;
use crate::reference;
use crate::tensor::{Desc, Elem, Element, HostTensor, NONE, Shape, with_element};

params! {
    struct Params { all_rows: u32, lanes_log2: u32, batch: u32, width: u32, first_rows: u32, second_rows: u32, empty: u32 }
}

pub(super) static CONCAT: Shader = Shader {
    name: "concat_rows",
    source: include_str!("../../../shaders/apply/concat_rows.wgsl"),
    includes: &[Include::Ahead],
    headers: &[Header::F16, Header::U32, Header::Words],
    inputs: &[
        ("first", BindingElem::Elem),
        ("first_lengths", BindingElem::U32),
        ("second", BindingElem::Elem),
        ("second_lengths", BindingElem::U32),
    ],
    outputs: &[("joined", BindingElem::Elem), ("lengths", BindingElem::U32)],
    params: Params::NAMES,
    tunings: &[&[]],
};

/// Moves of an invocation in a row that is long enough.
const MOVES: u32 = 8;

/// Joins two ragged batches row by row.
#[derive(Debug, Clone, Copy)]
struct ConcatRows;

/// Tokens of a ragged batch: the tensor, and how many are alive in each row (all of them for `None`).
pub type Ragged = (Tensor, Option<Tensor>);

/// Two ragged batches, row by row: the live tokens of `first`'s row b, then those of `second`'s. Bit for bit.
///
/// The tensors are `[B, N1, C]` and `[B, N2, C]`, or `[B, N1]` and `[B, N2]`, of one element type. Lengths are u32 `[B]`, clamped
/// to N1 and N2.
///
/// Gives `[B, N1 + N2, C]` (or `[B, N1 + N2]`) and its lengths, u32 `[B]`. Behind the live tokens stand zeros, and
/// [`NONE`](crate::NONE) for u32.
///
/// Cost: one dispatch; one read of the live tokens, one write of the output.
///
/// ```
/// use tokenpress::kernels::concat_rows;
/// use tokenpress::{Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// let first = graph.constant(HostTensor::f32([1, 2], vec![1.0, 2.0]));
/// let one = graph.constant(HostTensor::u32([1], vec![1]));
/// let second = graph.constant(HostTensor::f32([1, 1], vec![9.0]));
/// let (joined, lengths) = concat_rows(&mut graph, (first, Some(one)), (second, None))?;
/// graph.output("joined", joined)?;
/// graph.output("lengths", lengths)?;
/// let out = graph.run_reference(&[].into())?;
/// assert_eq!(out["joined"].floats(), [1.0, 9.0, 0.0]);
/// assert_eq!(out["lengths"].integers(), [2]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[doc(alias("cat", "concatenate", "append"))]
pub fn concat_rows(graph: &mut Graph, first: Ragged, second: Ragged) -> Result<(Tensor, Tensor), Error> {
    let mut inputs = Vec::new();
    for (tokens, lengths) in [first, second] {
        let (batch, rows, _) = dimensions(tokens.shape(), "concat_rows: tokens")?;
        inputs.extend([tokens, lengths_or_full(graph, lengths, batch, rows)]);
    }
    let outputs = graph.call(ConcatRows, &inputs)?;
    Ok((outputs[0], outputs[1]))
}

/// The live tokens of each row of `x` `[B, N, C]` or `[B, N]`, with zeros after them, or [`NONE`]. One copy.
pub(crate) fn keep_live(graph: &mut Graph, x: Tensor, lengths: Tensor) -> Result<Tensor, Error> {
    let nothing = match *x.shape().dims() {
        [batch, _, channels] => Shape::from([batch, 0, channels]),
        ref dims => [dims.first().copied().unwrap_or(0), 0].into(),
    };
    let nothing = graph.constant(HostTensor::empty(Desc::new(nothing, x.elem())));
    Ok(concat_rows(graph, (x, Some(lengths)), (nothing, None))?.0)
}

/// Batch, tokens and width.
fn dimensions(shape: Shape, argument: &'static str) -> Result<(u32, u32, u32), Error> {
    match *shape.dims() {
        [batch, rows] => Ok((batch, rows, 1)),
        [batch, rows, width] => Ok((batch, rows, width)),
        _ => Err(Error::Shape { argument, expected: "[B, N, C] or [B, N]".to_owned(), actual: shape }),
    }
}

fn joined_shape(first: Shape, second: Shape) -> Result<Shape, Error> {
    let argument = "concat_rows: second";
    let (batch, first_rows, width) = dimensions(first, "concat_rows: first")?;
    let (_, second_rows, _) = dimensions(second, argument)?;
    let flat = first.dims().len() == 2;
    let expected = if flat { [batch, second_rows].into() } else { [batch, second_rows, width].into() };
    if second != expected {
        return Err(Error::Shape { argument, expected: expected.to_string(), actual: second });
    }
    let rows = first_rows.checked_add(second_rows).ok_or_else(|| Error::Value {
        argument,
        expected: "fewer than 2^32 tokens together".to_owned(),
        actual: format!("{first_rows} and {second_rows}"),
    })?;
    Ok(if flat { [batch, rows].into() } else { [batch, rows, width].into() })
}

impl Kernel for ConcatRows {
    fn name(&self) -> &'static str {
        "concat_rows"
    }

    fn output_names(&self) -> &'static [&'static str] {
        &["joined", "lengths"]
    }

    fn outputs(&self, inputs: &[Desc]) -> Result<Vec<Desc>, Error> {
        let (first, second) = (inputs[0], inputs[2]);
        let joined = joined_shape(first.shape, second.shape)?;
        if second.elem != first.elem {
            return Err(Error::Elem { argument: "concat_rows: second", expected: "the first's element type", actual: second.elem });
        }
        let lengths = Desc::new([joined.dims()[0]], Elem::U32);
        for (argument, desc) in [("concat_rows: first lengths", inputs[1]), ("concat_rows: second lengths", inputs[3])] {
            if desc.elem != Elem::U32 {
                return Err(Error::Elem { argument, expected: "u32", actual: desc.elem });
            }
            if desc.shape != lengths.shape {
                return Err(Error::Shape { argument, expected: lengths.shape.to_string(), actual: desc.shape });
            }
        }
        Ok(vec![Desc { shape: joined, elem: first.elem }, lengths])
    }

    fn reference(&self, inputs: &[&HostTensor]) -> Vec<HostTensor> {
        fn run<T: Element>(inputs: &[&HostTensor]) -> Vec<HostTensor> {
            let side = |i: usize| (T::slice(inputs[i]), inputs[i + 1].integers(), inputs[i].shape().dims()[1] as usize);
            let dims = inputs[0].shape().dims().to_vec();
            let width = dims.get(2).map_or(1, |&w| w as usize);
            let (joined, lengths) = reference::concat_rows(side(0), side(2), width, T::EMPTY);
            let rows = dims[1] + inputs[2].shape().dims()[1];
            let shape = if dims.len() == 2 { [dims[0], rows].into() } else { [dims[0], rows, dims[2]].into() };
            vec![T::tensor(shape, joined), HostTensor::u32([dims[0]], lengths)]
        }
        with_element!(inputs[0].desc().elem, T => run::<T>(inputs))
    }

    fn batched_inputs(&self, _inputs: &[Desc]) -> Option<Vec<bool>> {
        Some(vec![true; 4])
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<(), Error> {
        let elem = lowering.input(0).elem;
        let (batch, first_rows, width) = dimensions(lowering.input(0).shape, "concat_rows: first")?;
        let (_, second_rows, _) = dimensions(lowering.input(2).shape, "concat_rows: second")?;
        let row_bytes = u64::from(width) * elem.size();
        let header = Header::copy(row_bytes, lowering.alignment(&[Slot::Input(0), Slot::Input(2), Slot::Output(0)]));
        let width = (row_bytes / header.size()) as u32;
        let all_rows = if width == 0 { 0 } else { (lowering.output(0).bytes() / row_bytes) as u32 };
        let lanes_log2 = width.div_ceil(MOVES).next_power_of_two().min(128).trailing_zeros();
        lowering.dispatch(Call {
            shader: &CONCAT,
            header,
            constants: &[],
            slots: &[Slot::Input(0), Slot::Input(1), Slot::Input(2), Slot::Input(3), Slot::Output(0), Slot::Output(1)],
            params: Params { all_rows, lanes_log2, batch, width, first_rows, second_rows, empty: if elem == Elem::U32 { NONE } else { 0 } },
            groups: (u64::from(all_rows) << lanes_log2).max(u64::from(batch)).div_ceil(128),
        })
    }
}
