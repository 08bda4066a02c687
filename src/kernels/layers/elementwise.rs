//! Two tensors number by number.

use crate::compare::Comparison;
use crate::device::{BindingElem, Call, Header, Include, Lowering, Shader, Slot, params};
use crate::error::Error;
use crate::graph::{Graph, Kernel, Tensor};
use crate::kernels::Activation;
use crate::reference;
use crate::tensor::{Desc, Elem, HostTensor, Shape};

pub use crate::reference::Operation;

params! {
    struct Params {
        /// Outer * middle.
        rows: u32,
        /// Of a row.
        segments: u32,
        lanes_log2: u32,
        middle: u32,
        /// In elems.
        inner: u32,
        /// Of b, as the next two.
        outer_stride: u32,
        middle_stride: u32,
        inner_stride: u32,
        in_f32: u32,
        multiply: u32,
        activation: u32,
        scale: f32,
    }
}

pub(super) static ELEMENTWISE: Shader = Shader {
    name: "elementwise",
    source: include_str!("../../../shaders/layers/elementwise.wgsl"),
    includes: &[Include::Activation, Include::Ahead, Include::Moves],
    headers: &[Header::F32, Header::F16, Header::F32x4, Header::F16x4],
    inputs: &[("a", BindingElem::Elem), ("b", BindingElem::Elem), ("b_f32", BindingElem::F32)],
    outputs: &[("y", BindingElem::Elem)],
    params: Params::NAMES,
    tunings: &[&[("ACTIVATED", 0)], &[("ACTIVATED", 1)]],
};

/// How often an invocation moves `elem` of one row, and how many invocations share a row at most.
const MOVES: u32 = 8;
const LANES: u32 = 32;

/// `activation(a + scale b)` or `activation(a (scale b))`, number by number.
///
/// A NaN stays NaN. Only [`Activation::Relu`] makes it 0, unlike PyTorch's, on purpose.
///
/// Cost: one dispatch; each number is read once and written once.
///
/// ```
/// use tokenpress::kernels::{Activation, Elementwise};
/// use tokenpress::{Elem, Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// let a = graph.input("a", [1, 2, 2], Elem::F32);
/// let b = graph.constant(HostTensor::f32([2], vec![1.0, 3.0]));
/// let y = Elementwise { scale: -1.0, activation: Activation::Relu, ..Elementwise::default() }.build(&mut graph, a, b)?;
/// graph.output("y", y)?;
/// let a = HostTensor::f32([1, 2, 2], vec![1.0, 2.0, 3.0, 4.0]);
/// assert_eq!(graph.run_reference(&[("a".to_owned(), a)].into())?["y"].floats(), [0.0, 0.0, 2.0, 1.0]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[doc(alias("add", "mul", "residual", "broadcast"))]
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Elementwise {
    /// Sum or product.
    pub operation: Operation,
    /// Factor of b.
    pub scale: f32,
    /// The function of each result.
    pub activation: Activation,
}

/// `a + b`.
impl Default for Elementwise {
    fn default() -> Self {
        Self { operation: Operation::Add, scale: 1.0, activation: Activation::None }
    }
}

/// `a + b`, b repeated as [`Elementwise::build`] says: residuals, biases, embeddings of positions. Cost: one dispatch.
///
/// ```
/// use tokenpress::kernels::add;
/// use tokenpress::{Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// let x = graph.constant(HostTensor::f32([1, 2, 2], vec![1.0, 2.0, 3.0, 4.0]));
/// let bias = graph.constant(HostTensor::f32([2], vec![10.0, 20.0]));
/// let y = add(&mut graph, x, bias)?;
/// graph.output("y", y)?;
/// assert_eq!(graph.run_reference(&[].into())?["y"].floats(), [11.0, 22.0, 13.0, 24.0]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[doc(alias("residual", "bias"))]
pub fn add(graph: &mut Graph, a: Tensor, b: Tensor) -> Result<Tensor, Error> {
    Elementwise::default().build(graph, a, b)
}

/// `a b`, b repeated as [`Elementwise::build`] says: gates of channels `[B, 1, C]`, weights of tokens `[B, N, 1]`. Cost: one
/// dispatch.
///
/// ```
/// use tokenpress::kernels::multiply;
/// use tokenpress::{Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// let x = graph.constant(HostTensor::f32([1, 2, 2], vec![1.0, 2.0, 3.0, 4.0]));
/// let weights = graph.constant(HostTensor::f32([1, 2, 1], vec![0.5, 2.0]));
/// let y = multiply(&mut graph, x, weights)?;
/// graph.output("y", y)?;
/// assert_eq!(graph.run_reference(&[].into())?["y"].floats(), [0.5, 1.0, 6.0, 8.0]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[doc(alias("mul", "gate"))]
pub fn multiply(graph: &mut Graph, a: Tensor, b: Tensor) -> Result<Tensor, Error> {
    Elementwise { operation: Operation::Multiply, ..Elementwise::default() }.build(graph, a, b)
}

/// `factor a`. Cost: one dispatch.
///
/// ```
/// use tokenpress::kernels::scale;
/// use tokenpress::{Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// let x = graph.constant(HostTensor::f32([2], vec![1.0, -3.0]));
/// let y = scale(&mut graph, x, 2.0)?;
/// graph.output("y", y)?;
/// assert_eq!(graph.run_reference(&[].into())?["y"].floats(), [2.0, -6.0]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
pub fn scale(graph: &mut Graph, a: Tensor, factor: f32) -> Result<Tensor, Error> {
    let one = graph.constant(HostTensor::f32([1], vec![1.0]));
    Elementwise { operation: Operation::Multiply, scale: factor, ..Elementwise::default() }.build(graph, a, one)
}

/// `activation(a)`. Use it where no [`Linear`](crate::kernels::Linear) or sum before it can apply the activation. ReLU of a NaN
/// is 0. Cost: one dispatch.
///
/// ```
/// use tokenpress::kernels::{Activation, activate};
/// use tokenpress::{Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// let x = graph.constant(HostTensor::f32([2], vec![1.0, -3.0]));
/// let y = activate(&mut graph, x, Activation::Relu)?;
/// graph.output("y", y)?;
/// assert_eq!(graph.run_reference(&[].into())?["y"].floats(), [1.0, 0.0]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[doc(alias("relu", "gelu", "silu", "sigmoid"))]
pub fn activate(graph: &mut Graph, a: Tensor, activation: Activation) -> Result<Tensor, Error> {
    let one = graph.constant(HostTensor::f32([1], vec![1.0]));
    Elementwise { operation: Operation::Multiply, scale: 1.0, activation }.build(graph, a, one)
}

impl Elementwise {
    /// Adds the call.
    ///
    /// `a` is f32, f16 or bf16 of any shape, and the result is like it; `b` is of the same element type or f32.
    ///
    /// b's dimensions belong to a's last ones, and each is a's or 1, where it is repeated. For an a of `[B, N, C]` it may be
    /// `[C]`, `[1, N, C]`, `[B, 1, C]` or `[B, N, 1]`. From the first dimension to the last it may change at most twice between
    /// repeated and not.
    ///
    /// Arithmetic is in f32. No token is left out: dead ones are computed like any other.
    pub fn build(self, graph: &mut Graph, a: Tensor, b: Tensor) -> Result<Tensor, Error> {
        Ok(graph.call(self, &[a, b])?[0])
    }

    /// The old name of `build`.
    #[deprecated(note = "it is `build` now, as everywhere")]
    pub fn apply(self, graph: &mut Graph, a: Tensor, b: Tensor) -> Result<Tensor, Error> {
        self.build(graph, a, b)
    }
}

/// Which number of b belongs to which of a.
fn pairing(a: Shape, b: Shape) -> Result<reference::Pairing, Error> {
    let refused = || {
        let expected = format!("the last dimensions of {a}, or 1 in their places, with at most two changes between the two");
        Error::Shape { argument: "elementwise: b", expected, actual: b }
    };
    let too_large = || Error::Shape { argument: "elementwise: a", expected: "fewer than 2^64 numbers".to_owned(), actual: a };
    let missing = a.dims().len().checked_sub(b.dims().len()).ok_or_else(refused)?;
    // Runs of dimensions that b repeats or has, from the innermost.
    let mut runs: Vec<(usize, bool)> = Vec::new();
    for (i, &of_a) in a.dims().iter().enumerate().rev() {
        let of_b = if i < missing { 1 } else { b.dims()[i - missing] };
        if of_b != of_a && of_b != 1 {
            return Err(refused());
        }
        match runs.last_mut() {
            _ if of_a == 1 => {}
            Some((size, repeated)) if *repeated == (of_b == 1) => *size = size.checked_mul(of_a as usize).ok_or_else(too_large)?,
            _ => runs.push((of_a as usize, of_b == 1)),
        }
    }
    if runs.len() > 3 {
        return Err(refused());
    }
    runs.resize(3, (1, true));
    let mut strides = [0; 3];
    let mut stride = 1usize;
    for (run, (size, _)) in runs.iter().enumerate().filter(|(_, (_, repeated))| !repeated) {
        strides[run] = stride;
        stride = stride.checked_mul(*size).ok_or_else(too_large)?;
    }
    strides.reverse();
    Ok(reference::Pairing { sizes: [runs[1].0, runs[0].0], strides })
}

/// Values of both, and how they are paired, of inputs that were checked when the call was made.
fn operands(inputs: &[&HostTensor]) -> (Vec<f32>, Vec<f32>, reference::Pairing) {
    let pairing = pairing(inputs[0].shape(), inputs[1].shape()).unwrap_or_else(|error| panic!("{error}"));
    (inputs[0].floats(), inputs[1].floats(), pairing)
}

impl Kernel for Elementwise {
    fn name(&self) -> &'static str {
        "elementwise"
    }

    fn output_names(&self) -> &'static [&'static str] {
        &["y"]
    }

    fn input_count(&self) -> std::ops::RangeInclusive<usize> {
        2..=2
    }

    fn outputs(&self, inputs: &[Desc]) -> Result<Vec<Desc>, Error> {
        let (a, b) = (inputs[0], inputs[1]);
        if !a.elem.is_float() {
            return Err(Error::Elem { argument: "elementwise: a", expected: "f32, f16 or bf16", actual: a.elem });
        }
        if b.elem != a.elem && b.elem != Elem::F32 {
            return Err(Error::Elem { argument: "elementwise: b", expected: "f32 or a's element type", actual: b.elem });
        }
        pairing(a.shape, b.shape)?;
        Ok(vec![a])
    }

    fn reference(&self, inputs: &[&HostTensor]) -> Vec<HostTensor> {
        let (a, b, pairing) = operands(inputs);
        let y = reference::elementwise(&a, &b, pairing, self.operation, self.scale, self.activation);
        vec![HostTensor::from_floats(inputs[0].desc(), y.into_iter().map(|v| v as f32).collect())]
    }

    fn compare(&self, inputs: &[&HostTensor], expected: &[HostTensor], actual: &[HostTensor]) -> Vec<Comparison> {
        let (a, b, pairing) = operands(inputs);
        let elem = inputs[0].desc().elem;
        let bounds = reference::elementwise_bound(&a, &b, pairing, self.operation, self.scale, self.activation, elem);
        let exact = reference::elementwise(&a, &b, pairing, self.operation, self.scale, self.activation);
        vec![Comparison::ranged(&expected[0], &actual[0], &exact, &bounds)]
    }

    fn batched_inputs(&self, inputs: &[Desc]) -> Option<Vec<bool>> {
        let (a, b) = (inputs[0].shape.dims(), inputs[1].shape.dims());
        Some(vec![true, a.len() == b.len() && b.first().is_some_and(|d| *d > 1)])
    }

    fn flops(&self, inputs: &[Desc]) -> u64 {
        2 * inputs[0].shape.elements()
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<(), Error> {
        let (a, b) = (lowering.input(0), lowering.input(1));
        let reference::Pairing { sizes: [middle, inner], strides } = pairing(a.shape, b.shape)?;
        let inner_stride = strides[2] as u32;
        // What a row repeats is one number, whatever the header.
        let in_f32 = b.elem == Elem::F32 && (a.elem == Elem::F16 || inner_stride == 0);
        let nothing = lowering.scratch(0, Elem::F32);
        let [second, second_f32] = if in_f32 { [nothing, Slot::Input(1)] } else { [Slot::Input(1), nothing] };
        let header = if in_f32 == (inner_stride == 0) {
            Header::vector(a.elem, inner as u64, lowering.alignment(&[Slot::Input(0), second, Slot::Output(0)]))
        } else {
            Header::of(a.elem)
        };
        let of_b = if in_f32 { 1 } else { header.width() };
        let [outer_stride, middle_stride] = [strides[0], strides[1]].map(|s| s as u32 / of_b);
        let rows = if inner == 0 { 0 } else { (a.shape.elements() / inner as u64) as u32 };
        let inner = inner as u32 / header.width();
        let lanes = inner.div_ceil(MOVES).next_power_of_two().min(LANES);
        let segments = inner.div_ceil(MOVES * lanes);
        lowering.dispatch(Call {
            shader: &ELEMENTWISE,
            header,
            constants: ELEMENTWISE.tunings[usize::from(self.activation != Activation::None)],
            slots: &[Slot::Input(0), second, second_f32, Slot::Output(0)],
            params: Params {
                rows,
                segments,
                lanes_log2: lanes.trailing_zeros(),
                middle: middle as u32,
                inner,
                outer_stride,
                middle_stride,
                inner_stride,
                in_f32: in_f32.into(),
                multiply: (self.operation == Operation::Multiply).into(),
                activation: self.activation.code(),
                scale: self.scale,
            },
            groups: (u64::from(rows) * u64::from(segments)).div_ceil(u64::from(128 / lanes)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_that_pair() {
        let pair = |a: Shape, b: Shape| pairing(a, b).ok().map(|p| (p.sizes, p.strides));
        let a = Shape::from([2, 3, 4]);
        assert_eq!(pair(a, a), Some(([1, 24], [0, 0, 1])));
        assert_eq!(pair(a, [4].into()), Some(([6, 4], [0, 0, 1])));
        assert_eq!(pair(a, [3, 4].into()), Some(([2, 12], [0, 0, 1])));
        assert_eq!(pair(a, [2, 1, 4].into()), Some(([3, 4], [4, 0, 1])));
        assert_eq!(pair(a, [2, 3, 1].into()), Some(([6, 4], [0, 1, 0])));
        assert_eq!(pair(a, [1, 3, 1].into()), Some(([3, 4], [0, 1, 0])));
        assert_eq!(pair(a, [1].into()), Some(([1, 24], [0, 0, 0])));
        assert_eq!(pair([2, 5, 3, 4].into(), [2, 1, 3, 4].into()), Some(([5, 12], [12, 0, 1])));
        for b in [Shape::from([3]), [3, 1, 4].into(), [1, 2, 3, 4].into(), [2, 3].into()] {
            assert_eq!(pair(a, b), None, "{b}");
        }
        assert_eq!(pair([2, 5, 3, 4].into(), [2, 1, 3, 1].into()), None);
    }
}
