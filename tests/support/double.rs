//! A small kernel of the tests' own, as an application would add one: twice each element.

use tokenpress::device::{BindingElem, Call, Header, Lowering, Shader, Slot};
use tokenpress::kernels::Kernel;
use tokenpress::{Desc, Elem, Error, Graph, HostTensor, Tensor};

pub static DOUBLE: Shader = Shader {
    name: "double",
    source: include_str!("../shaders/double.wgsl"),
    includes: &[],
    headers: &[Header::F32, Header::F16],
    inputs: &[("x", BindingElem::Elem)],
    outputs: &[("y", BindingElem::Elem)],
    params: &[("elements", "u32"), ("written", "u32")],
    tunings: &[&[]],
};

#[derive(Debug, Clone, Copy, Default)]
pub struct Double {
    /// The call may be split over the outermost dimension.
    pub batched: bool,
    /// Bytes of scratch for each element, through which a batch needs more than its tensors.
    pub scratch: u64,
    /// Elements written past the output: a defect.
    pub trespass: u32,
}

impl Double {
    pub fn call(self, graph: &mut Graph, x: Tensor) -> Result<Tensor, Error> {
        Ok(graph.call(self, &[x])?[0])
    }
}

impl Kernel for Double {
    fn name(&self) -> &'static str {
        "double"
    }

    fn output_names(&self) -> &'static [&'static str] {
        &["y"]
    }

    fn outputs(&self, inputs: &[Desc]) -> Result<Vec<Desc>, Error> {
        if inputs[0].elem == Elem::U32 {
            return Err(Error::Elem { argument: "double: x", expected: "f32 or f16", actual: inputs[0].elem });
        }
        Ok(inputs.to_vec())
    }

    fn reference(&self, inputs: &[&HostTensor]) -> Vec<HostTensor> {
        let doubled = inputs[0].floats().into_iter().map(|x| 2.0 * x).collect();
        vec![HostTensor::from_floats(inputs[0].desc(), doubled)]
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<(), Error> {
        let desc = lowering.input(0);
        let elements = desc.shape.elements() as u32;
        if self.scratch > 0 {
            lowering.scratch(u64::from(elements) * self.scratch / 4, Elem::U32);
        }
        let params = [elements, elements + self.trespass];
        let groups = u64::from(params[1].div_ceil(64));
        let slots = [Slot::Input(0), Slot::Output(0)];
        lowering.dispatch(Call { shader: &DOUBLE, header: Header::of(desc.elem), constants: &[], slots: &slots, params, groups })
    }

    fn batched_inputs(&self, _inputs: &[Desc]) -> Option<Vec<bool>> {
        self.batched.then(|| vec![true])
    }

    fn flops(&self, inputs: &[Desc]) -> u64 {
        inputs[0].shape.elements()
    }
}
