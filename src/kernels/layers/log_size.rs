//! Logarithms of token sizes.

use crate::compare::Comparison;
use crate::device::{BindingElem, Call, Header, Include, Lowering, Shader, Slot, params};
use crate::error::Error;
use crate::graph::{Graph, Kernel, Tensor};
use crate::kernels::operands::lengths_or_full;
use crate::reference;
use crate::tensor::{Desc, Elem, HostTensor};

params! {
    struct Params { elements: u32, tokens: u32 }
}

pub(super) static LOG_SIZE: Shader = Shader {
    name: "log_size",
    source: include_str!("../../../shaders/layers/log_size.wgsl"),
    includes: &[Include::Order],
    headers: &[Header::F32],
    inputs: &[("size", BindingElem::F32), ("lengths", BindingElem::U32)],
    outputs: &[("bias", BindingElem::F32)],
    params: Params::NAMES,
    tunings: &[&[]],
};

/// Logarithms of token sizes.
#[derive(Debug, Clone, Copy)]
struct LogSize;

/// `ln size[b,j]`, f32 `[B, N]`; 0 for tokens that are not alive.
///
/// As the bias of an attention it makes a token that stands for s tokens count s times. That is the proportional attention of
/// ToMe, `https://arxiv.org/abs/2210.09461`.
///
/// `size` is f32 `[B, N]`, in tokens; `lengths` is u32 `[B]`, all N for `None`. A size of 0 (or denormal) gives negative
/// infinity, which hides its token from attention. A size below 0 or NaN gives NaN. The result is within 3 ulp, or 2^-21 for
/// sizes between 0.5 and 2.
///
/// Cost: one dispatch; one read and one write of each element.
///
/// ```
/// use tokenpress::kernels::log_size;
/// use tokenpress::{Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// let size = graph.constant(HostTensor::f32([1, 2], vec![1.0, 0.0]));
/// let bias = log_size(&mut graph, size, None)?;
/// graph.output("bias", bias)?;
/// assert_eq!(graph.run_reference(&[].into())?["bias"].floats(), [0.0, f32::NEG_INFINITY]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[doc(alias("proportional_attention", "log"))]
pub fn log_size(graph: &mut Graph, size: Tensor, lengths: Option<Tensor>) -> Result<Tensor, Error> {
    let [batch, tokens] = size.shape().exactly("log_size: size", "[B, N]")?;
    let lengths = lengths_or_full(graph, lengths, batch, tokens);
    Ok(graph.call(LogSize, &[size, lengths])?[0])
}

impl Kernel for LogSize {
    fn name(&self) -> &'static str {
        "log_size"
    }

    fn output_names(&self) -> &'static [&'static str] {
        &["bias"]
    }

    fn outputs(&self, inputs: &[Desc]) -> Result<Vec<Desc>, Error> {
        let (size, lengths) = (inputs[0], inputs[1]);
        let [batch, _] = size.shape.exactly("log_size: size", "[B, N]")?;
        if size.elem != Elem::F32 {
            return Err(Error::Elem { argument: "log_size: size", expected: "f32", actual: size.elem });
        }
        if lengths.elem != Elem::U32 {
            return Err(Error::Elem { argument: "log_size: lengths", expected: "u32", actual: lengths.elem });
        }
        if lengths.shape != [batch].into() {
            return Err(Error::Shape { argument: "log_size: lengths", expected: format!("[{batch}]"), actual: lengths.shape });
        }
        Ok(vec![size])
    }

    fn reference(&self, inputs: &[&HostTensor]) -> Vec<HostTensor> {
        let [_, tokens] = inputs[0].dims();
        let bias = reference::log_size(&inputs[0].floats(), inputs[1].integers(), tokens);
        vec![HostTensor::f32(inputs[0].shape(), bias)]
    }

    fn compare(&self, inputs: &[&HostTensor], expected: &[HostTensor], actual: &[HostTensor]) -> Vec<Comparison> {
        let [_, tokens] = inputs[0].dims();
        let bounds = reference::log_size_bound(&inputs[0].floats(), inputs[1].integers(), tokens);
        vec![Comparison::within(&expected[0], &actual[0], &bounds)]
    }

    fn batched_inputs(&self, _inputs: &[Desc]) -> Option<Vec<bool>> {
        Some(vec![true, true])
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<(), Error> {
        let [_, tokens] = lowering.input(0).shape.exactly("log_size: size", "[B, N]")?;
        let elements = lowering.input(0).shape.elements();
        lowering.dispatch(Call {
            shader: &LOG_SIZE,
            header: Header::F32,
            constants: &[],
            slots: &[Slot::Input(0), Slot::Input(1), Slot::Output(0)],
            params: Params { elements: elements as u32, tokens },
            groups: elements.div_ceil(128),
        })
    }
}
