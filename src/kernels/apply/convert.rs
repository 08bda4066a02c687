//! Numbers in another type.

use std::collections::HashMap;
use std::sync::Arc;

use crate::compare::Comparison;
use crate::device::{BindingElem::Halves, Call, Header, Include, Lowering, Shader, Slot, params};
use crate::error::Error;
use crate::graph::{Graph, Kernel, Source, Tensor};
use crate::kernels::copy_bytes;
use crate::reference;
use crate::tensor::{Desc, Elem, HostTensor, TensorId};

params! {
    struct Params { elements: u32 }
}

pub(super) static CONVERT: Shader = Shader {
    name: "convert",
    source: include_str!("../../../shaders/apply/convert.wgsl"),
    includes: &[Include::Pairs, Include::HalfBits],
    headers: &[Header::U32],
    inputs: &[("source", Halves)],
    outputs: &[("copied", Halves)],
    params: Params::NAMES,
    tunings: &[
        &[("FROM", 0), ("TO", 1)],
        &[("FROM", 0), ("TO", 2)],
        &[("FROM", 0), ("TO", 3)],
        &[("FROM", 1), ("TO", 0)],
        &[("FROM", 1), ("TO", 2)],
        &[("FROM", 1), ("TO", 3)],
        &[("FROM", 2), ("TO", 0)],
        &[("FROM", 2), ("TO", 1)],
        &[("FROM", 2), ("TO", 3)],
        &[("FROM", 3), ("TO", 0)],
        &[("FROM", 3), ("TO", 1)],
        &[("FROM", 3), ("TO", 2)],
    ],
};

/// The value of a type in the shader.
const fn number(elem: Elem) -> u32 {
    match elem {
        Elem::F32 => 0,
        Elem::F16 => 1,
        Elem::BF16 => 2,
        Elem::U32 => 3,
    }
}

/// Numbers in another type.
#[derive(Debug, Clone, Copy)]
struct Convert {
    to: Elem,
}

/// A tensor with its numbers in another type.
///
/// `x` is of any type and shape, and the result has its shape. A tensor that has the type already is given back.
///
/// - To f16 or bf16: the nearest number, ties to even; infinite beyond the range. Subnormal numbers stay, and so does NaN. 1e5 is 99840 in
///   bf16, and infinite in f16.
/// - To f32: exact, but for whole numbers above 2^24, which are rounded to the nearest, ties to even. On their way to f16 and bf16 they are
///   f32 in between.
/// - To u32: the whole part, as PyTorch and WGSL have it. Negative numbers and NaN become 0, and 2^32 and more the largest number.
///
/// No device feature is needed: numbers are converted bit by bit, in the same way everywhere.
///
/// Cost: one dispatch; one read of x, one write of the result.
///
/// ```
/// use tokenpress::kernels::convert;
/// use tokenpress::{Elem, Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// let lengths = graph.constant(HostTensor::u32([3], vec![4, 1, 3]));
/// let floats = convert(&mut graph, lengths, Elem::F32)?;
/// graph.output("floats", floats)?;
/// assert_eq!(graph.run_reference(&[].into())?["floats"].floats(), [4.0, 1.0, 3.0]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[doc(alias("cast", "to", "half", "bfloat16", "bf16"))]
pub fn convert(graph: &mut Graph, x: Tensor, elem: Elem) -> Result<Tensor, Error> {
    if x.desc().elem == elem {
        return Ok(x);
    }
    Ok(graph.call(Convert { to: elem }, &[x])?[0])
}

impl Graph {
    /// The same graph with every tensor of one type in another: `graph.converted(Elem::F16, Elem::BF16)` is an f16 model's graph for bf16
    /// tensors. Inputs and outputs keep their names and shapes. Constants are converted as [`convert`] does.
    ///
    /// # Errors
    /// Those of the calls, if one does not take tensors of this type.
    ///
    /// ```
    /// use tokenpress::kernels::scale;
    /// use tokenpress::{Elem, Graph};
    ///
    /// let mut graph = Graph::new();
    /// let x = graph.input("x", [2, 3], Elem::F16);
    /// let y = scale(&mut graph, x, 0.5)?;
    /// graph.output("y", y)?;
    /// let graph = graph.converted(Elem::F16, Elem::BF16)?;
    /// assert!(graph.outputs().all(|(_, desc)| desc.elem == Elem::BF16));
    /// # Ok::<(), tokenpress::Error>(())
    /// ```
    pub fn converted(&self, from: Elem, to: Elem) -> Result<Self, Error> {
        let mut graph = Self::new();
        let mut made: HashMap<TensorId, Tensor> = HashMap::new();
        for (index, (source, desc)) in self.sources().iter().zip(self.descs()).enumerate() {
            let desc = Desc { shape: desc.shape, elem: if desc.elem == from { to } else { desc.elem } };
            let tensor = match source {
                Source::Input(name) => graph.input(name, desc.shape, desc.elem),
                Source::Constant(value) => graph.constant(reference::convert(value, desc.elem)),
                Source::Pattern(pattern, _) => graph.pattern(desc, *pattern),
                Source::Node => continue,
            };
            made.insert(TensorId(index as u32), tensor);
        }
        // Under the shape in which a call or the caller sees it.
        let seen = |graph: &Self, made: &HashMap<TensorId, Tensor>, tensor: &Tensor| graph.reshape(made[&tensor.id()], tensor.shape());
        for node in self.nodes() {
            let inputs: Result<Vec<_>, _> = node.inputs.iter().map(|tensor| seen(&graph, &made, tensor)).collect();
            let kernel = node.kernel.converted(from, to).unwrap_or_else(|| node.kernel.clone());
            let outputs = graph.call_shared(kernel, &inputs?)?;
            made.extend(node.outputs.iter().map(Tensor::id).zip(outputs));
        }
        for (name, tensor) in self.output_tensors() {
            let tensor = seen(&graph, &made, tensor)?;
            graph.name_output(name, tensor);
        }
        Ok(graph)
    }
}

/// Converts all numbers of a tensor to a type that they do not have.
pub(crate) fn convert_numbers(lowering: &mut Lowering<'_>, from: (Slot, Elem), to: (Slot, Elem), elements: u64) -> Result<(), Error> {
    let constants = CONVERT.tuning(&[("FROM", number(from.1)), ("TO", number(to.1))]);
    let params = Params { elements: elements as u32 };
    // A tensor may begin in the middle of a word.
    let groups = (elements / 2 + 1).div_ceil(128);
    lowering.dispatch(Call { shader: &CONVERT, header: Header::U32, constants, slots: &[from.0, to.0], params, groups })
}

impl Kernel for Convert {
    fn name(&self) -> &'static str {
        "convert"
    }

    fn output_names(&self) -> &'static [&'static str] {
        &["converted"]
    }

    fn outputs(&self, inputs: &[Desc]) -> Result<Vec<Desc>, Error> {
        Ok(vec![Desc { elem: self.to, ..inputs[0] }])
    }

    fn reference(&self, inputs: &[&HostTensor]) -> Vec<HostTensor> {
        vec![reference::convert(inputs[0], self.to)]
    }

    fn converted(&self, from: Elem, to: Elem) -> Option<Arc<dyn Kernel>> {
        (self.to == from).then(|| Arc::new(Self { to }) as Arc<dyn Kernel>)
    }

    fn batched_inputs(&self, _inputs: &[Desc]) -> Option<Vec<bool>> {
        Some(vec![true])
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<(), Error> {
        let (from, to) = (lowering.input(0), lowering.output(0));
        // A graph whose tensors changed their type may ask for the type that a tensor has.
        if from.elem == to.elem {
            return copy_bytes(lowering, Slot::Input(0), Slot::Output(0), from.bytes());
        }
        convert_numbers(lowering, (Slot::Input(0), from.elem), (Slot::Output(0), to.elem), to.shape.elements())
    }

    /// Bit-equal, but that any NaN is as good as another.
    fn compare(&self, _inputs: &[&HostTensor], expected: &[HostTensor], actual: &[HostTensor]) -> Vec<Comparison> {
        let judge = |(e, a): (&HostTensor, &HostTensor)| {
            if !self.to.is_float() {
                return Comparison::exact(e, a);
            }
            let exact: Vec<f64> = e.floats().into_iter().map(f64::from).collect();
            Comparison::ranged(e, a, &exact, &vec![0.0; exact.len()])
        };
        expected.iter().zip(actual).map(judge).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::add;

    #[test]
    fn numbers_that_a_graph_makes_change_their_type_with_its_tensors() {
        let mut graph = Graph::new();
        let x = graph.input("x", [2], Elem::F16);
        let wide = graph.input("wide", [2], Elem::F32);
        let narrow = convert(&mut graph, wide, Elem::F16).expect("floats");
        let sum = add(&mut graph, x, narrow).expect("of one type");
        graph.output("sum", sum).expect("a name");
        let graph = graph.converted(Elem::F16, Elem::BF16).expect("a graph of bf16");
        let x = HostTensor::from_floats(Desc::new([2], Elem::BF16), vec![1.0, 2.0]);
        let inputs = [("x".to_owned(), x), ("wide".to_owned(), HostTensor::f32([2], vec![0.5, 1.5]))].into();
        assert_eq!(graph.run_reference(&inputs).expect("its inputs")["sum"].floats(), [1.5, 3.5]);
    }
}
