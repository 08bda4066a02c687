//! A kernel of an application's own, with whatever shader, parameters and output a test gives it.

use tokenpress::device::{BindingElem, Call, Header, Lowering, Shader, Slot};
use tokenpress::kernels::Kernel;
use tokenpress::{Desc, Elem, Error, Graph, HostTensor, Shape, Tensor};

/// A shader of one input and one output, whose params are `elements`.
pub const fn shader(name: &'static str, source: &'static str) -> Shader {
    Shader {
        name,
        source,
        includes: &[],
        headers: &[Header::F32],
        inputs: &[("x", BindingElem::Elem)],
        outputs: &[("y", BindingElem::Elem)],
        params: &[("elements", "u32")],
        tunings: &[&[]],
    }
}

#[derive(Debug, Clone, Copy)]
pub struct Own {
    pub shader: &'static Shader,
    /// So many parameters.
    pub params: usize,
    pub slots: &'static [Slot],
    pub constants: &'static [(&'static str, u32)],
    pub output: Shape,
}

impl Own {
    pub fn new(shader: &'static Shader) -> Self {
        Self { shader, params: 1, slots: &[Slot::Input(0), Slot::Output(0)], constants: &[], output: [64].into() }
    }

    pub fn call(self, graph: &mut Graph, x: Tensor) -> Tensor {
        graph.call(self, &[x]).expect("a call")[0]
    }

    /// `y` of `x`, of 64 numbers.
    pub fn graph(self) -> Graph {
        let mut graph = Graph::new();
        let x = graph.input("x", [64], Elem::F32);
        let y = self.call(&mut graph, x);
        graph.output("y", y).expect("an output");
        graph
    }
}

impl Kernel for Own {
    fn name(&self) -> &'static str {
        "own"
    }

    fn output_names(&self) -> &'static [&'static str] {
        &["y"]
    }

    fn outputs(&self, _inputs: &[Desc]) -> Result<Vec<Desc>, Error> {
        Ok(vec![Desc::new(self.output, Elem::F32)])
    }

    fn reference(&self, inputs: &[&HostTensor]) -> Vec<HostTensor> {
        vec![inputs[0].clone()]
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<(), Error> {
        let Self { shader, slots, constants, .. } = *self;
        let header = Header::F32;
        match self.params {
            1 => lowering.dispatch(Call { shader, header, constants, slots, params: [1u32; 1], groups: 1 }),
            2 => lowering.dispatch(Call { shader, header, constants, slots, params: [1u32; 2], groups: 1 }),
            _ => lowering.dispatch(Call { shader, header, constants, slots, params: [0u32; 0], groups: 1 }),
        }
    }

    fn flops(&self, _inputs: &[Desc]) -> u64 {
        0
    }
}

/// The head of a shader that is right.
#[allow(unused_macros, reason = "each user takes a part")]
macro_rules! own_shader {
    ($body:literal) => {
        concat!("@compute @workgroup_size(64) fn main(lane: Lane) {\n", $body, "\n}\n")
    };
}
