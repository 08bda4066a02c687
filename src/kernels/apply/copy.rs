//! A tensor, bit for bit.

use crate::device::{BindingElem::Elem, Call, Header, Lowering, Shader, Slot, params};
use crate::error::Error;
use crate::graph::{Graph, Kernel, Tensor};
use crate::kernels::texture_copy;
use crate::tensor::{Desc, HostTensor};

params! {
    struct Params { elements: u32 }
}

pub(super) static COPY: Shader = Shader {
    name: "copy",
    source: include_str!("../../../shaders/apply/copy.wgsl"),
    includes: &[],
    headers: &[Header::F16, Header::U32, Header::Words],
    inputs: &[("source", Elem)],
    outputs: &[("copied", Elem)],
    params: Params::NAMES,
    tunings: &[&[]],
};

/// Copies a tensor into an output. The name keeps two outputs of one tensor apart.
#[derive(Debug)]
struct Copy {
    #[expect(dead_code, reason = "read through Debug")]
    output: String,
}

/// A tensor with the same contents for the output of this name.
fn copy(graph: &mut Graph, source: Tensor, output: &str) -> Result<Tensor, Error> {
    Ok(graph.call(Copy { output: output.to_owned() }, &[source])?[0])
}

impl Graph {
    /// Names a tensor as an output, bound to a buffer by `name` when the graph is planned.
    ///
    /// A tensor that is an input, a constant or an output already is copied into a new one.
    pub fn output(&mut self, name: &str, tensor: Tensor) -> Result<(), Error> {
        let tensor = if self.is_free(tensor)? { tensor } else { copy(self, tensor, name)? };
        self.name_output(name, tensor);
        Ok(())
    }
}

/// Copies all bytes of a tensor.
pub(crate) fn copy_bytes(lowering: &mut Lowering<'_>, source: Slot, copied: Slot, bytes: u64) -> Result<(), Error> {
    let slots = [source, copied];
    let header = Header::copy(bytes, lowering.alignment(&slots));
    let elements = bytes / header.size();
    let params = Params { elements: elements as u32 };
    lowering.dispatch(Call { shader: &COPY, header, constants: &[], slots: &slots, params, groups: elements.div_ceil(128) })
}

impl Kernel for Copy {
    fn name(&self) -> &'static str {
        "copy"
    }

    fn output_names(&self) -> &'static [&'static str] {
        &["copied"]
    }

    fn outputs(&self, inputs: &[Desc]) -> Result<Vec<Desc>, Error> {
        Ok(inputs.to_vec())
    }

    fn reference(&self, inputs: &[&HostTensor]) -> Vec<HostTensor> {
        vec![inputs[0].clone()]
    }

    fn batched_inputs(&self, _inputs: &[Desc]) -> Option<Vec<bool>> {
        Some(vec![true])
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<(), Error> {
        let [read, written] = [Slot::Input(0), Slot::Output(0)].map(|slot| lowering.texels(slot).is_some());
        if read != written {
            return texture_copy(lowering, written);
        }
        copy_bytes(lowering, Slot::Input(0), Slot::Output(0), lowering.input(0).bytes())
    }
}
