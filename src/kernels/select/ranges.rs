//! The places of sequences in a packed row.

use crate::checks::expect;
use crate::device::{BindingElem::U32, Call, Header, Lowering, Shader, Slot, params};
use crate::error::Error;
use crate::graph::{Graph, Kernel, Tensor};
use crate::reference;
use crate::tensor::{Desc, Elem, HostTensor};

params! {
    struct Params { sequences: u32, longest: u32 }
}

pub(super) static RANGES: Shader = Shader {
    name: "ranges",
    source: include_str!("../../../shaders/select/ranges.wgsl"),
    includes: &[],
    headers: &[Header::U32],
    inputs: &[("offsets", U32)],
    outputs: &[("indices", U32), ("lengths", U32)],
    params: Params::NAMES,
    tunings: &[&[]],
};

/// The places between offsets.
#[derive(Debug, Clone, Copy)]
struct Between {
    longest: u32,
}

/// What [`ranges`] gives.
#[derive(Debug, Clone, Copy)]
pub struct Ranges {
    /// u32 `[S, longest]`: the places of each sequence, then [`NONE`](crate::NONE).
    pub indices: Tensor,
    /// u32 `[S]`: how many they are, at most `longest`.
    pub lengths: Tensor,
}

/// The places of each sequence of a packed row: `indices[s, i] = offsets[s] + i` while that is below `offsets[s + 1]`.
///
/// `offsets` is u32 `[S + 1]`, the `cu_seqlens` of other libraries, which the GPU may have counted. Of a sequence of more than `longest`
/// places the first so many count, and where the offsets fall a sequence is empty. [`gather_rows`](crate::kernels::gather_rows()) takes the
/// indices.
///
/// Cost: one dispatch, `4 S longest` bytes written.
///
/// ```
/// use tokenpress::kernels::ranges;
/// use tokenpress::{Graph, HostTensor, NONE};
///
/// let mut graph = Graph::new();
/// let offsets = graph.constant(HostTensor::u32([3], vec![0, 2, 5]));
/// let ranges = ranges(&mut graph, offsets, 3)?;
/// graph.output("indices", ranges.indices)?;
/// graph.output("lengths", ranges.lengths)?;
/// let out = graph.run_reference(&[].into())?;
/// assert_eq!(out["indices"].integers(), [0, 1, NONE, /**/ 2, 3, 4]);
/// assert_eq!(out["lengths"].integers(), [2, 3]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
///
/// # Errors
/// [`Error::Shape`] and [`Error::Elem`] for other offsets. [`Error::Value`] if `longest` is 0.
#[doc(alias("cu_seqlens", "varlen"))]
pub fn ranges(graph: &mut Graph, offsets: Tensor, longest: u32) -> Result<Ranges, Error> {
    let made = graph.call(Between { longest }, &[offsets])?;
    Ok(Ranges { indices: made[0], lengths: made[1] })
}

impl Kernel for Between {
    fn name(&self) -> &'static str {
        "ranges"
    }

    fn output_names(&self) -> &'static [&'static str] {
        &["indices", "lengths"]
    }

    fn outputs(&self, inputs: &[Desc]) -> Result<Vec<Desc>, Error> {
        let [entries] = inputs[0].shape.exactly("ranges: offsets", "[S + 1]")?;
        expect("ranges: offsets", inputs[0], Desc::new([entries], Elem::U32))?;
        let expected = "[S + 1]".to_owned();
        let sequences = entries.checked_sub(1).ok_or(Error::Shape { argument: "ranges: offsets", expected, actual: inputs[0].shape })?;
        if self.longest == 0 {
            let expected = "1 or more places".to_owned();
            return Err(Error::Value { argument: "ranges: longest", expected, actual: "0".to_owned() });
        }
        Ok(vec![Desc::new([sequences, self.longest], Elem::U32), Desc::new([sequences], Elem::U32)])
    }

    fn reference(&self, inputs: &[&HostTensor]) -> Vec<HostTensor> {
        let (indices, lengths) = reference::ranges(inputs[0].integers(), self.longest);
        let sequences = lengths.len() as u32;
        vec![HostTensor::u32([sequences, self.longest], indices), HostTensor::u32([sequences], lengths)]
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<(), Error> {
        let indices = lowering.output(0).shape;
        let [sequences, longest] = indices.exactly("ranges: indices", "[S, longest]")?;
        lowering.dispatch(Call {
            shader: &RANGES,
            header: Header::U32,
            constants: &[],
            slots: &[Slot::Input(0), Slot::Output(0), Slot::Output(1)],
            params: Params { sequences, longest },
            groups: indices.elements().div_ceil(128),
        })
    }
}
