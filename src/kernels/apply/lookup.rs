//! A table of integers.

use crate::device::{BindingElem::U32, Call, Header, Lowering, Shader, Slot, params};
use crate::error::Error;
use crate::graph::{Graph, Kernel, Tensor};
use crate::reference;
use crate::tensor::{Desc, Elem, HostTensor};

params! {
    struct Params { elements: u32, entries: u32 }
}

pub(super) static LOOKUP: Shader = Shader {
    name: "lookup",
    source: include_str!("../../../shaders/apply/lookup.wgsl"),
    includes: &[],
    headers: &[Header::U32],
    inputs: &[("table", U32), ("index", U32)],
    outputs: &[("found", U32)],
    params: Params::NAMES,
    tunings: &[&[]],
};

/// Reads a table of integers.
#[derive(Debug, Clone, Copy)]
struct Lookup;

/// Reads a table of integers: `found[i] = table[min(index[i], T - 1)]`, of the index's shape.
///
/// `table` is u32 `[T]` with T at least 1; `index` is u32 of any shape. An index beyond the table ([`NONE`](crate::NONE) among
/// them) reads its last entry.
///
/// Counts that depend on a row's length are made so: the host fills the table with the count for every length, and `index` is the
/// lengths.
///
/// Cost: one dispatch; one read of the index, one write of the result.
///
/// ```
/// use tokenpress::kernels::lookup;
/// use tokenpress::{Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// // Half of each row's tokens, of at most four.
/// let table = graph.constant(HostTensor::u32([5], vec![0, 0, 1, 1, 2]));
/// let lengths = graph.constant(HostTensor::u32([3], vec![4, 1, 3]));
/// let halves = lookup(&mut graph, table, lengths)?;
/// graph.output("halves", halves)?;
/// assert_eq!(graph.run_reference(&[].into())?["halves"].integers(), [2, 0, 1]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[doc(alias("lut", "embedding"))]
pub fn lookup(graph: &mut Graph, table: Tensor, index: Tensor) -> Result<Tensor, Error> {
    Ok(graph.call(Lookup, &[table, index])?[0])
}

impl Kernel for Lookup {
    fn name(&self) -> &'static str {
        "lookup"
    }

    fn output_names(&self) -> &'static [&'static str] {
        &["found"]
    }

    fn outputs(&self, inputs: &[Desc]) -> Result<Vec<Desc>, Error> {
        let (table, index) = (inputs[0], inputs[1]);
        let [entries] = table.shape.exactly("lookup: table", "[T]")?;
        if entries == 0 {
            return Err(Error::Shape { argument: "lookup: table", expected: "[T] with T at least 1".to_owned(), actual: table.shape });
        }
        for (argument, elem) in [("lookup: table", table.elem), ("lookup: index", index.elem)] {
            if elem != Elem::U32 {
                return Err(Error::Elem { argument, expected: "u32", actual: elem });
            }
        }
        Ok(vec![index])
    }

    fn reference(&self, inputs: &[&HostTensor]) -> Vec<HostTensor> {
        vec![HostTensor::u32(inputs[1].shape(), reference::lookup(inputs[0].integers(), inputs[1].integers()))]
    }

    fn batched_inputs(&self, _inputs: &[Desc]) -> Option<Vec<bool>> {
        Some(vec![false, true])
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<(), Error> {
        let elements = lowering.output(0).shape.elements();
        let params = Params { elements: elements as u32, entries: lowering.input(0).shape.elements() as u32 };
        let slots = [Slot::Input(0), Slot::Input(1), Slot::Output(0)];
        lowering.dispatch(Call {
            shader: &LOOKUP,
            header: Header::U32,
            constants: &[],
            slots: &slots,
            params,
            groups: elements.div_ceil(128),
        })
    }
}
