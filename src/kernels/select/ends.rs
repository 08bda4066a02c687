//! Both ends of a row.

use crate::checks::expect;
use crate::device::{BindingElem::U32, Call, Header, Lowering, Shader, Slot, params};
use crate::error::Error;
use crate::graph::{Graph, Kernel, Tensor};
use crate::reference;
use crate::tensor::{Desc, Elem, HostTensor};

params! {
    struct Params { rows: u32, places: u32, first: u32, capacity: u32 }
}

pub(super) static ENDS: Shader = Shader {
    name: "ends",
    source: include_str!("../../../shaders/select/ends.wgsl"),
    includes: &[],
    headers: &[Header::U32],
    inputs: &[("lengths", U32)],
    outputs: &[("indices", U32), ("kept", U32)],
    params: Params::NAMES,
    tunings: &[&[]],
};

/// The first and the last live tokens of each row: `0 .. first` and `n - last .. n` of n live ones, each token once and in order.
///
/// StreamingLLM keeps a cache so, and others always keep both ends. `lengths` is u32 `[B]`; above `capacity` it counts as that.
///
/// Cost: one dispatch, `4 B (first + last)` bytes written.
///
/// ```
/// use tokenpress::kernels::Ends;
/// use tokenpress::{Graph, HostTensor, NONE};
///
/// let mut graph = Graph::new();
/// let lengths = graph.constant(HostTensor::u32([2], vec![9, 2]));
/// let ends = Ends { first: 1, last: 2, capacity: 16 }.build(&mut graph, lengths)?;
/// graph.output("indices", ends.indices)?;
/// graph.output("kept", ends.kept)?;
/// let out = graph.run_reference(&[].into())?;
/// assert_eq!(out["indices"].integers(), [0, 7, 8, /**/ 0, 1, NONE]);
/// assert_eq!(out["kept"].integers(), [3, 2]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[doc(alias("StreamingLLM", "sink", "recent", "window"))]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ends {
    /// Tokens at the beginning.
    pub first: u32,
    /// Tokens at the end.
    pub last: u32,
    /// Tokens that a row has room for.
    pub capacity: u32,
}

/// What [`Ends::build`] gives.
#[derive(Debug, Clone, Copy)]
pub struct BothEnds {
    /// u32 `[B, first + last]`: the tokens, then [`NONE`](crate::NONE).
    pub indices: Tensor,
    /// u32 `[B]`: how many they are, at most `first + last`.
    pub kept: Tensor,
}

impl Ends {
    /// Lists both ends of each row.
    ///
    /// # Errors
    /// [`Error::Shape`] and [`Error::Elem`] for other lengths. [`Error::Value`] if `first + last` is not from 1 to 2^31.
    pub fn build(self, graph: &mut Graph, lengths: Tensor) -> Result<BothEnds, Error> {
        let made = graph.call(self, &[lengths])?;
        Ok(BothEnds { indices: made[0], kept: made[1] })
    }

    fn places(&self) -> Result<u32, Error> {
        let places = self.first.checked_add(self.last).filter(|places| (1..=1 << 31).contains(places));
        places.ok_or_else(|| Error::Value {
            argument: "ends: first and last",
            expected: "1 to 2^31 tokens together".to_owned(),
            actual: format!("{} and {}", self.first, self.last),
        })
    }
}

impl Kernel for Ends {
    fn name(&self) -> &'static str {
        "ends"
    }

    fn output_names(&self) -> &'static [&'static str] {
        &["indices", "kept"]
    }

    fn outputs(&self, inputs: &[Desc]) -> Result<Vec<Desc>, Error> {
        let [rows] = inputs[0].shape.exactly("ends: lengths", "[B]")?;
        expect("ends: lengths", inputs[0], Desc::new([rows], Elem::U32))?;
        Ok(vec![Desc::new([rows, self.places()?], Elem::U32), Desc::new([rows], Elem::U32)])
    }

    fn reference(&self, inputs: &[&HostTensor]) -> Vec<HostTensor> {
        let lengths = inputs[0].integers();
        let rows = lengths.iter().map(|length| reference::ends((*length).min(self.capacity), self.first, self.last));
        let (indices, kept): (Vec<_>, Vec<_>) = rows.unzip();
        let count = lengths.len() as u32;
        vec![HostTensor::u32([count, self.first + self.last], indices.concat()), HostTensor::u32([count], kept)]
    }

    fn batched_inputs(&self, _inputs: &[Desc]) -> Option<Vec<bool>> {
        Some(vec![true])
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<(), Error> {
        let indices = lowering.output(0).shape;
        let [rows, places] = indices.exactly("ends: indices", "[B, first + last]")?;
        lowering.dispatch(Call {
            shader: &ENDS,
            header: Header::U32,
            constants: &[],
            slots: &[Slot::Input(0), Slot::Output(0), Slot::Output(1)],
            params: Params { rows, places, first: self.first, capacity: self.capacity },
            groups: indices.elements().div_ceil(128),
        })
    }
}
