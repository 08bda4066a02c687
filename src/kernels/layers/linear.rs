//! A linear layer.

use crate::compare::Comparison;
use crate::device::{BindingElem, Call, Form, Header, Include, Lowering, Shader, Slot, params};
use crate::error::Error;
use crate::graph::{Graph, Kernel, Tensor};
use crate::reference;
use crate::tensor::{Desc, Elem, HostTensor, Shape};

pub use crate::reference::Activation;

params! {
    struct Params { groups: u32, rows: u32, outputs: u32, channels: u32, biased: u32, activation: u32 }
}

pub(super) static LINEAR: Shader = Shader {
    name: "linear",
    source: include_str!("../../../shaders/layers/linear.wgsl"),
    includes: &[Include::Activation, Include::TileLanes, Include::Products, Include::Tile],
    headers: &[Header::F32, Header::F16, Header::F32x4, Header::F16x4],
    inputs: &[("x", BindingElem::Elem), ("weight", BindingElem::Elem), ("bias", BindingElem::Scalar), ("bias_f32", BindingElem::F32)],
    outputs: &[("y", BindingElem::Scalar)],
    params: Params::NAMES,
    tunings: &[&[("ACTIVATED", 0)], &[("ACTIVATED", 1)]],
};

/// For few rows on a CPU.
pub(super) static LINEAR_FEW: Shader = Shader {
    name: "linear.few",
    source: include_str!("../../../shaders/layers/linear.few.wgsl"),
    includes: &[Include::Activation, Include::Products],
    tunings: &[&[("ROWS", 1)], &[("ROWS", 2)], &[("ROWS", 4)], &[("ROWS", 8)]],
    ..LINEAR
};

/// For few rows on a GPU.
pub(super) static LINEAR_FEW_STAGED: Shader = Shader {
    name: "linear.few_staged",
    source: include_str!("../../../shaders/layers/linear.few_staged.wgsl"),
    includes: &[Include::Activation, Include::Products],
    tunings: &[&[]],
    ..LINEAR
};

/// The shader for so many rows, its constants, and how many rows and columns a workgroup has. `single` says that a row of the batch is one
/// token.
///
/// The number of rows may decide, because these shaders sum in one order. Matrices do not. Beside them only the shape of a row of the batch
/// decides, so that a row gives the same bits in every batch.
fn chosen(form: Form, software: bool, rows: u32, single: bool, activated: bool) -> (&'static Shader, Constants, [u32; 2]) {
    let tile = (&LINEAR, LINEAR.tunings[usize::from(activated)], [64, 64]);
    let staged = (&LINEAR_FEW_STAGED, LINEAR_FEW_STAGED.tunings[0], [8, 16]);
    // The least of 1, 2, 4 and 8 that is enough.
    let index = rows.clamp(1, 8).next_power_of_two().ilog2();
    let read = (&LINEAR_FEW, LINEAR_FEW.tunings[index as usize], [1 << index, 64]);
    match form {
        Form::Portable if rows <= 8 => read,
        // The tile reads 16 rows by one load, and shares them.
        Form::Subgroup if rows <= 4 => read,
        Form::Staged if rows <= 16 => staged,
        form if form.is_cooperative() && single => {
            if software {
                read
            } else {
                staged
            }
        }
        _ => tile,
    }
}

type Constants = &'static [(&'static str, u32)];

/// A linear layer and what follows it: `y[..,o] = activation(sum_k x[..,k] weight[o,k] + bias[o])`.
///
/// A NaN stays NaN. Only [`Activation::Relu`] makes it 0, unlike PyTorch's, on purpose.
///
/// Cost: one dispatch, `2 rows O K` operations.
///
/// ```
/// use tokenpress::kernels::{Activation, Linear};
/// use tokenpress::{Elem, Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// let x = graph.input("x", [1, 2], Elem::F32);
/// let weight = graph.constant(HostTensor::f32([3, 2], vec![1.0, 0.0, 0.0, 1.0, -1.0, 0.0]));
/// let y = Linear { activation: Activation::Relu }.build(&mut graph, x, weight, None)?;
/// graph.output("y", y)?;
/// let x = HostTensor::f32([1, 2], vec![2.0, 5.0]);
/// assert_eq!(graph.run_reference(&[("x".to_owned(), x)].into())?["y"].floats(), [2.0, 5.0, 0.0]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[doc(alias("matmul", "gemm", "dense", "fully_connected"))]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Linear {
    /// The function of each result.
    pub activation: Activation,
}

/// `y[..,o] = sum_k x[..,k] weight[o,k] + bias[o]`: [`Linear`] without an activation. Cost: one dispatch, `2 rows O K`
/// operations.
///
/// ```
/// use tokenpress::kernels::linear;
/// use tokenpress::{Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// let x = graph.constant(HostTensor::f32([1, 2], vec![2.0, 5.0]));
/// let weight = graph.constant(HostTensor::f32([1, 2], vec![1.0, 10.0]));
/// let y = linear(&mut graph, x, weight, None)?;
/// graph.output("y", y)?;
/// assert_eq!(graph.run_reference(&[].into())?["y"].floats(), [52.0]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[doc(alias("matmul", "gemm"))]
pub fn linear(graph: &mut Graph, x: Tensor, weight: Tensor, bias: Option<Tensor>) -> Result<Tensor, Error> {
    Linear::default().build(graph, x, weight, bias)
}

impl Linear {
    /// Adds the call. The weight is as PyTorch has it.
    ///
    /// `x` is `[rows, K]` or `[B, N, K]`, f32, f16 or bf16; `weight` is `[O, K]` of the same element type; `bias` is `[O]`, of that
    /// type or f32. Gives `[rows, O]` or `[B, N, O]` of x's element type.
    ///
    /// Sums and the activation are in f32; where f16 overflows, so does the result. No row is left out: what a dead token holds
    /// goes through the layer like any other, and stays with it.
    pub fn build(self, graph: &mut Graph, x: Tensor, weight: Tensor, bias: Option<Tensor>) -> Result<Tensor, Error> {
        let inputs: Vec<_> = [x, weight].into_iter().chain(bias).collect();
        Ok(graph.call(self, &inputs)?[0])
    }

    /// The old name of `build`.
    #[deprecated(note = "it is `build` now, as everywhere")]
    pub fn apply(self, graph: &mut Graph, x: Tensor, weight: Tensor, bias: Option<Tensor>) -> Result<Tensor, Error> {
        self.build(graph, x, weight, bias)
    }
}

/// Rows, K and O.
fn dimensions(inputs: &[Desc]) -> Result<[u32; 3], Error> {
    let [outputs, weight_channels] = inputs[1].shape.exactly("linear: weight", "[O, K]")?;
    let (rows, channels) = match *inputs[0].shape.dims() {
        [rows, channels] => (Some(rows), channels),
        [batch, tokens, channels] => (batch.checked_mul(tokens), channels),
        _ => return Err(Error::Shape { argument: "linear: x", expected: "[rows, K] or [B, N, K]".to_owned(), actual: inputs[0].shape }),
    };
    let Some(rows) = rows else {
        return Err(Error::Shape { argument: "linear: x", expected: "fewer than 2^32 rows".to_owned(), actual: inputs[0].shape });
    };
    if weight_channels != channels {
        return Err(Error::Shape { argument: "linear: weight", expected: format!("[O, {channels}]"), actual: inputs[1].shape });
    }
    Ok([rows, channels, outputs])
}

impl Kernel for Linear {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn output_names(&self) -> &'static [&'static str] {
        &["y"]
    }

    fn input_count(&self) -> std::ops::RangeInclusive<usize> {
        2..=3
    }

    fn outputs(&self, inputs: &[Desc]) -> Result<Vec<Desc>, Error> {
        let [_, _, outputs] = dimensions(inputs)?;
        let elem = inputs[0].elem;
        if !elem.is_float() {
            return Err(Error::Elem { argument: "linear: x", expected: "f32, f16 or bf16", actual: elem });
        }
        if inputs[1].elem != elem {
            return Err(Error::Elem { argument: "linear: weight", expected: "x's element type", actual: inputs[1].elem });
        }
        if let Some(bias) = inputs.get(2) {
            if bias.elem != elem && bias.elem != Elem::F32 {
                return Err(Error::Elem { argument: "linear: bias", expected: "f32 or x's element type", actual: bias.elem });
            }
            if bias.shape != [outputs].into() {
                return Err(Error::Shape { argument: "linear: bias", expected: format!("[{outputs}]"), actual: bias.shape });
            }
        }
        let shape: Shape = match *inputs[0].shape.dims() {
            [rows, _] => [rows, outputs].into(),
            ref dims => [dims[0], dims[1], outputs].into(),
        };
        Ok(vec![Desc { shape, elem }])
    }

    fn reference(&self, inputs: &[&HostTensor]) -> Vec<HostTensor> {
        let descs: Vec<_> = inputs.iter().map(|t| t.desc()).collect();
        let (dims, y) = shapes(self, &descs);
        let bias = inputs.get(2).map(|b| b.floats());
        let sums = reference::linear(&inputs[0].floats(), &inputs[1].floats(), bias.as_deref(), dims, self.activation);
        vec![HostTensor::from_floats(y, sums.into_iter().map(|v| v as f32).collect())]
    }

    fn compare(&self, inputs: &[&HostTensor], expected: &[HostTensor], actual: &[HostTensor]) -> Vec<Comparison> {
        let descs: Vec<_> = inputs.iter().map(|t| t.desc()).collect();
        let (dims, y) = shapes(self, &descs);
        let (x, weight, bias) = (inputs[0].floats(), inputs[1].floats(), inputs.get(2).map(|b| b.floats()));
        let exact = reference::linear(&x, &weight, bias.as_deref(), dims, self.activation);
        let bounds = reference::linear_bound(&x, &weight, bias.as_deref(), dims, self.activation, y.elem);
        vec![Comparison::ranged(&expected[0], &actual[0], &exact, &bounds)]
    }

    fn batched_inputs(&self, inputs: &[Desc]) -> Option<Vec<bool>> {
        Some((0..inputs.len()).map(|i| i == 0).collect())
    }

    fn flops(&self, inputs: &[Desc]) -> u64 {
        2 * inputs[0].shape.elements() * u64::from(inputs[1].shape.dims()[0])
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<(), Error> {
        let descs: Vec<_> = (0..lowering.inputs()).map(|i| lowering.input(i)).collect();
        let [rows, channels, outputs] = dimensions(&descs)?;
        let (header, [x, weight]) = lowering.vectors(descs[0].elem, channels, [Slot::Input(0), Slot::Input(1)]);
        let nothing = lowering.scratch(0, Elem::F32);
        let (biased, bias, bias_f32) = match descs.get(2) {
            None => (0, nothing, nothing),
            Some(bias) if bias.elem == descs[0].elem => (1, Slot::Input(2), nothing),
            Some(_) => (2, nothing, Slot::Input(2)),
        };
        let single = matches!(*descs[0].shape.dims(), [_, 1, _]);
        let (form, software) = (lowering.form(&LINEAR, header), lowering.capabilities().software);
        let (shader, constants, [tall, wide]) = chosen(form, software, rows, single, self.activation != Activation::None);
        let groups = u64::from(rows.div_ceil(tall)) * u64::from(outputs.div_ceil(wide));
        lowering.dispatch(Call {
            shader,
            header,
            constants,
            slots: &[x, weight, bias, bias_f32, Slot::Output(0)],
            params: Params {
                groups: groups as u32,
                rows,
                outputs,
                channels: channels / header.width(),
                biased,
                activation: self.activation.code(),
            },
            groups,
        })
    }
}

/// Rows, K and O, and the result's description, of inputs that were checked when the call was made.
fn shapes(kernel: &Linear, descs: &[Desc]) -> ([usize; 3], Desc) {
    let checked = dimensions(descs).and_then(|dims| Ok((dims.map(|d| d as usize), kernel.outputs(descs)?[0])));
    checked.unwrap_or_else(|error| panic!("{error}"))
}
