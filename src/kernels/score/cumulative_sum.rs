//! Running sums of rows.

use crate::checks::expect;
use crate::compare::Comparison;
use crate::device::{BindingElem, Call, Header, Lowering, Shader, Slot, params};
use crate::error::Error;
use crate::graph::{Graph, Kernel, Tensor};
use crate::kernels::operands::lengths_or_full;
use crate::reference;
use crate::tensor::{Desc, Elem, HostTensor};

params! {
    struct Params {
        rows: u32,
        tokens: u32,
        /// Invocations that share a row, a power of two.
        lanes: u32,
    }
}

pub(super) static CUMULATIVE_SUM: Shader = Shader {
    name: "cumulative_sum",
    source: include_str!("../../../shaders/score/cumulative_sum.wgsl"),
    includes: &[],
    headers: &[Header::F32],
    inputs: &[("x", BindingElem::F32), ("lengths", BindingElem::U32)],
    outputs: &[("sums", BindingElem::F32)],
    params: Params::NAMES,
    tunings: &[&[]],
};

/// Invocations of a workgroup, and numbers of each in a chunk.
const LANES: u32 = 256;
const RUN: u32 = 16;

#[derive(Debug, Clone, Copy)]
struct CumulativeSum;

/// The running sum of each row: how much of a whole its first so many have.
///
/// ```text
/// sums[r, j] = x[r, 0] + .. + x[r, j]        0 after the live numbers
/// ```
///
/// `x` is f32 `[R, N]`; `lengths`, u32 `[R]`, are the live numbers of each row, all for `None`. Gives f32 `[R, N]`.
///
/// - The order of additions depends on N alone, so that a row has the same bits in any batch.
/// - A NaN makes all sums from it on NaN, and so do two infinities of different signs. What lies after the live numbers does not matter.
/// - Where the magnitudes up to a place leave f32's range, so may the sum.
///
/// Cost: one dispatch; one read and one write of each number.
///
/// ```
/// use tokenpress::kernels::cumulative_sum;
/// use tokenpress::{Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// let x = graph.constant(HostTensor::f32([1, 4], vec![0.5, 0.25, 0.125, 0.125]));
/// let sums = cumulative_sum(&mut graph, x, None)?;
/// graph.output("sums", sums)?;
/// assert_eq!(graph.run_reference(&[].into())?["sums"].floats(), [0.5, 0.75, 0.875, 1.0]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[doc(alias("cumsum", "prefix_sum", "scan"))]
pub fn cumulative_sum(graph: &mut Graph, x: Tensor, lengths: Option<Tensor>) -> Result<Tensor, Error> {
    let [rows, tokens] = x.shape().exactly("cumulative_sum: x", "[R, N]")?;
    let lengths = lengths_or_full(graph, lengths, rows, tokens);
    Ok(graph.call(CumulativeSum, &[x, lengths])?[0])
}

/// `of` the live numbers of every row, and 0 after them.
fn each(inputs: &[&HostTensor], of: impl Fn(&[f32]) -> Vec<f64>) -> Vec<f64> {
    let [rows, tokens] = inputs[0].dims();
    let (x, lengths) = (inputs[0].floats(), inputs[1].integers());
    let row = |row: usize| {
        let mut all = of(&x[row * tokens..][..tokens.min(lengths[row] as usize)]);
        all.resize(tokens, 0.0);
        all
    };
    (0..rows).flat_map(row).collect()
}

impl Kernel for CumulativeSum {
    fn name(&self) -> &'static str {
        "cumulative_sum"
    }

    fn output_names(&self) -> &'static [&'static str] {
        &["sums"]
    }

    fn outputs(&self, inputs: &[Desc]) -> Result<Vec<Desc>, Error> {
        let [rows, tokens] = inputs[0].shape.exactly("cumulative_sum: x", "[R, N]")?;
        let sums = Desc::new([rows, tokens], Elem::F32);
        expect("cumulative_sum: x", inputs[0], sums)?;
        expect("cumulative_sum: lengths", inputs[1], Desc::new([rows], Elem::U32))?;
        Ok(vec![sums])
    }

    fn reference(&self, inputs: &[&HostTensor]) -> Vec<HostTensor> {
        let values = each(inputs, reference::cumulative_sum).into_iter().map(|value| value as f32).collect();
        vec![HostTensor::f32(inputs[0].shape(), values)]
    }

    fn compare(&self, inputs: &[&HostTensor], expected: &[HostTensor], actual: &[HostTensor]) -> Vec<Comparison> {
        let (exact, bounds) = (each(inputs, reference::cumulative_sum), each(inputs, reference::cumulative_sum_bound));
        vec![Comparison::ranged(&expected[0], &actual[0], &exact, &bounds)]
    }

    fn batched_inputs(&self, _inputs: &[Desc]) -> Option<Vec<bool>> {
        Some(vec![true, true])
    }

    fn flops(&self, inputs: &[Desc]) -> u64 {
        inputs[0].shape.elements()
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<(), Error> {
        let [rows, tokens] = lowering.input(0).shape.exactly("cumulative_sum: x", "[R, N]")?;
        let lanes = tokens.div_ceil(RUN).clamp(1, LANES).next_power_of_two();
        lowering.dispatch(Call {
            shader: &CUMULATIVE_SUM,
            header: Header::F32,
            constants: &[],
            slots: &[Slot::Input(0), Slot::Input(1), Slot::Output(0)],
            params: Params { rows, tokens, lanes },
            groups: u64::from(rows.div_ceil(LANES / lanes)),
        })
    }
}
