//! Statistics along one axis.

use crate::checks::expect;
use crate::compare::Comparison;
use crate::device::{BindingElem, Call, Header, Include, Lowering, Shader, Slot, params};
use crate::error::Error;
use crate::graph::{Graph, Kernel, Tensor};
use crate::reference;
pub use crate::reference::Statistic;
use crate::tensor::{Desc, Elem, HostTensor, Shape};

params! {
    struct Params {
        /// Of `width` outputs within one outer row, in all.
        tiles: u32,
        entries: u32,
        inner: u32,
        /// Outer / L.
        outer_of_length: u32,
        correction: u32,
        width: u32,
        strips: u32,
    }
}

pub(super) static REDUCE: Shader = Shader {
    name: "reduce",
    source: include_str!("../../../shaders/score/reduce.wgsl"),
    includes: &[Include::Order],
    headers: &[Header::F32, Header::F16],
    inputs: &[("x", BindingElem::Elem), ("lengths", BindingElem::U32)],
    outputs: &[("reduced", BindingElem::Elem)],
    params: Params::NAMES,
    tunings: &[&[("STATISTIC", 0)], &[("STATISTIC", 1)], &[("STATISTIC", 2)], &[("STATISTIC", 3)], &[("STATISTIC", 4)]],
};

/// For integers, which have a sum and a largest and smallest number.
pub(super) static INTEGERS: Shader = Shader {
    name: "reduce.integers",
    source: include_str!("../../../shaders/score/reduce.wgsl"),
    includes: &[Include::Order],
    headers: &[Header::U32],
    inputs: &[("x", BindingElem::Elem), ("lengths", BindingElem::U32)],
    outputs: &[("reduced", BindingElem::Elem)],
    params: Params::NAMES,
    tunings: &[&[("INTEGER", 1), ("STATISTIC", 1)], &[("INTEGER", 1), ("STATISTIC", 2)], &[("INTEGER", 1), ("STATISTIC", 3)]],
};

/// A statistic along an axis.
#[derive(Debug, Clone, Copy)]
struct ReduceAxis {
    axis: usize,
    statistic: Statistic,
}

/// One axis of `x` reduced to a [`Statistic`]: the shape of `x` without that axis, or `[1]`, in x's element type.
///
/// `x` is f32, f16 or u32. Integers have a sum (modulo 2^32), a maximum and a minimum.
///
/// `lengths` is u32 `[B]`, with B the outermost dimension (`[1]` where that is the axis). In batch row b only the first
/// `lengths[b]` entries of the axis count; all do for `None`.
///
/// - Of no entries every statistic is 0.
/// - Maximum and minimum are exact, and a zero is +0. They skip NaN, and are NaN only where every entry is. PyTorch's, in which
///   NaN wins, differ; that is on purpose.
/// - Sums are in f32, in an order that depends on neither the batch nor the capacity.
/// - A mean or a variance with a NaN or an infinity is NaN or infinite. Of finite numbers only a result beyond the element type's
///   range is infinite (or f16's largest number). So a mean of finite numbers is finite.
///
/// Cost: one dispatch; one read of x, two for a variance, one write of the result.
///
/// ```
/// use tokenpress::kernels::{Statistic, reduce};
/// use tokenpress::{Elem, Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// let x = graph.input("x", [2, 3], Elem::F32);
/// let mean = reduce(&mut graph, x, 1, Statistic::Mean, None)?;
/// graph.output("mean", mean)?;
/// let x = HostTensor::f32([2, 3], vec![1.0, 2.0, 6.0, 0.0, 0.0, 9.0]);
/// let out = graph.run_reference(&[("x".to_owned(), x)].into())?;
/// assert_eq!(out["mean"].floats(), [3.0, 3.0]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[doc(alias("mean", "sum", "max", "min", "variance"))]
pub fn reduce(graph: &mut Graph, x: Tensor, axis: usize, statistic: Statistic, lengths: Option<Tensor>) -> Result<Tensor, Error> {
    let [_, entries, _] = dimensions(x.shape(), axis)?;
    let rows = length_rows(x.shape(), axis);
    let lengths = lengths.unwrap_or_else(|| graph.filled([rows], entries));
    Ok(graph.call(ReduceAxis { axis, statistic }, &[x, lengths])?[0])
}

/// Products of the dimensions before the axis, of the axis, and after it.
fn dimensions(shape: Shape, axis: usize) -> Result<[u32; 3], Error> {
    let dims = shape.dims();
    let product = |dims: &[u32]| dims.iter().copied().fold(1, u32::saturating_mul);
    match dims.get(axis) {
        Some(&entries) => Ok([product(&dims[..axis]), entries, product(&dims[axis + 1..])]),
        None => Err(Error::Value { argument: "reduce: axis", expected: format!("below {}", dims.len()), actual: axis.to_string() }),
    }
}

/// Rows that have a length of their own.
fn length_rows(shape: Shape, axis: usize) -> u32 {
    if axis == 0 { 1 } else { shape.dims()[0] }
}

fn reduced_shape(shape: Shape, axis: usize) -> Shape {
    let left: Vec<u32> = shape.dims().iter().enumerate().filter(|(i, _)| *i != axis).map(|(_, d)| *d).collect();
    match left[..] {
        [a] => [a].into(),
        [a, b] => [a, b].into(),
        [a, b, c] => [a, b, c].into(),
        [a, b, c, d] => [a, b, c, d].into(),
        _ => [1].into(),
    }
}

impl ReduceAxis {
    /// `of` applied to the entries of every output.
    fn each<T: Copy, R>(&self, inputs: &[&HostTensor], values: &[T], of: impl Fn(&[T]) -> R) -> Vec<R> {
        let shape = inputs[0].shape();
        let [outer, entries, inner] = dimensions(shape, self.axis).unwrap_or_default().map(|d| d as usize);
        let lengths = inputs[1].integers();
        let mut results = Vec::with_capacity(outer * inner);
        for row in 0..outer {
            let live = (lengths[row / (outer / lengths.len())] as usize).min(entries);
            for column in 0..inner {
                let entries: Vec<T> = (0..live).map(|i| values[(row * entries + i) * inner + column]).collect();
                results.push(of(&entries));
            }
        }
        results
    }
}

impl Kernel for ReduceAxis {
    fn name(&self) -> &'static str {
        "reduce"
    }

    fn output_names(&self) -> &'static [&'static str] {
        &["reduced"]
    }

    fn outputs(&self, inputs: &[Desc]) -> Result<Vec<Desc>, Error> {
        dimensions(inputs[0].shape, self.axis)?;
        if !inputs[0].elem.is_float() && !matches!(self.statistic, Statistic::Sum | Statistic::Max | Statistic::Min) {
            return Err(Error::Elem {
                argument: "reduce: x",
                expected: "f32, f16 or bf16 for a mean or a variance",
                actual: inputs[0].elem,
            });
        }
        expect("reduce: lengths", inputs[1], Desc::new([length_rows(inputs[0].shape, self.axis)], Elem::U32))?;
        Ok(vec![Desc { shape: reduced_shape(inputs[0].shape, self.axis), elem: inputs[0].elem }])
    }

    fn reference(&self, inputs: &[&HostTensor]) -> Vec<HostTensor> {
        let desc = Desc { shape: reduced_shape(inputs[0].shape(), self.axis), elem: inputs[0].desc().elem };
        vec![if desc.elem.is_float() {
            let values = self.each(inputs, &inputs[0].floats(), |entries| reference::reduce(entries, self.statistic) as f32);
            HostTensor::from_floats(desc, values)
        } else {
            let values = self.each(inputs, inputs[0].integers(), |entries| reference::reduce_integers(entries, self.statistic));
            HostTensor::u32(desc.shape, values)
        }]
    }

    fn batched_inputs(&self, _inputs: &[Desc]) -> Option<Vec<bool>> {
        (self.axis > 0).then(|| vec![true, true])
    }

    fn flops(&self, inputs: &[Desc]) -> u64 {
        // A variance adds, subtracts, squares and adds.
        let steps = if matches!(self.statistic, Statistic::Variance | Statistic::SampleVariance) { 4 } else { 1 };
        steps * inputs[0].shape.elements()
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<(), Error> {
        let shape = lowering.input(0).shape;
        let elem = lowering.input(0).elem;
        let [outer, entries, inner] = dimensions(shape, self.axis)?;
        // Wide enough to read whole cache lines, with at least four invocations an output. The strips decide the order of a sum, and
        // may depend on nothing that a batch has and its row alone has not.
        let width = inner.clamp(1, 32).next_power_of_two();
        let strips = (32 / width).max(4);
        let tiles = u64::from(outer) * u64::from(inner.div_ceil(width));
        let (statistic, correction) = match self.statistic {
            Statistic::Mean => (0, 0),
            Statistic::Sum => (1, 0),
            Statistic::Max => (2, 0),
            Statistic::Min => (3, 0),
            Statistic::Variance => (4, 0),
            Statistic::SampleVariance => (4, 1),
        };
        // Of integers there are no means.
        let (shader, constants) =
            if elem.is_float() { (&REDUCE, REDUCE.tunings[statistic]) } else { (&INTEGERS, INTEGERS.tunings[statistic.clamp(1, 3) - 1]) };
        lowering.dispatch(Call {
            shader,
            header: Header::of(elem),
            constants,
            slots: &[Slot::Input(0), Slot::Input(1), Slot::Output(0)],
            params: Params {
                tiles: tiles as u32,
                entries,
                inner,
                outer_of_length: outer / length_rows(shape, self.axis).max(1),
                correction,
                width,
                strips,
            },
            groups: tiles.div_ceil(u64::from(128 / (width * strips))),
        })
    }

    fn compare(&self, inputs: &[&HostTensor], expected: &[HostTensor], actual: &[HostTensor]) -> Vec<Comparison> {
        let elem = inputs[0].desc().elem;
        if !elem.is_float() {
            return vec![Comparison::exact(&expected[0], &actual[0])];
        }
        let x = inputs[0].floats();
        let exact = self.each(inputs, &x, |entries| reference::reduce(entries, self.statistic));
        let bounds = self.each(inputs, &x, |entries| reference::reduce_bound(entries, self.statistic, elem));
        vec![Comparison::ranged(&expected[0], &actual[0], &exact, &bounds)]
    }
}
