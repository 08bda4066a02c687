//! Whole budgets in proportion to weights.

use crate::checks::expect;
use crate::device::{BindingElem, Call, Header, Include, Lowering, Shader, Slot, params};
use crate::error::Error;
use crate::graph::{Graph, Kernel, Tensor};
use crate::kernels::operands::{alone, team};
use crate::reference;
use crate::tensor::{Desc, Elem, HostTensor};

pub use crate::reference::Leftover;

params! {
    struct Params { rows: u32, segments: u32, minimum: u32, by_weight: u32 }
}

pub(super) static ALLOCATE: Shader = Shader {
    name: "allocate",
    source: include_str!("../../../shaders/select/allocate.wgsl"),
    includes: &[Include::Team, Include::Reduce],
    headers: &[Header::F32],
    inputs: &[("weights", BindingElem::F32), ("totals", BindingElem::U32), ("capacities", BindingElem::U32)],
    outputs: &[("budgets", BindingElem::U32), ("keys", BindingElem::U32)],
    params: Params::NAMES,
    tunings: &[&[]],
};

/// An invocation for a row.
pub(super) static ALLOCATE_ALONE: Shader = Shader { name: "allocate.alone", includes: &[Include::Alone], ..ALLOCATE };

/// Divides a number of tokens among segments in proportion to weights. Segments are, say, the crops of an image or the frames of
/// a video.
///
/// ```text
/// budget_i = min(minimum, capacity_i) + floor(rest weight_i / sum weight) + one more for some
/// ```
///
/// The budgets add up to the total exactly, or to all capacities where that is less. What some have no room for goes to the
/// others in proportion.
///
/// Weights are taken as 16-bit integers at the scale of the row's largest. All that follows is in integers: the result is the
/// same on every device.
///
/// Cost: one dispatch, one workgroup a row, or one invocation of up to 16 segments. A few reads of each number, and 32
/// passes over 4 bytes a segment of workspace to deal out what is left.
///
/// ```
/// use tokenpress::kernels::Allocate;
/// use tokenpress::{Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// let weights = graph.constant(HostTensor::f32([1, 2], vec![1.0, 3.0]));
/// let total = graph.constant(HostTensor::u32([1], vec![8]));
/// let capacities = graph.constant(HostTensor::u32([1, 2], vec![100, 100]));
/// let budgets = Allocate::default().build(&mut graph, weights, total, capacities)?;
/// graph.output("budgets", budgets)?;
/// assert_eq!(graph.run_reference(&[].into())?["budgets"].integers(), [2, 6]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[doc(alias("budget", "apportion", "largest_remainder"))]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Allocate {
    /// What every segment gets first, as far as its capacity and the total go.
    pub minimum: u32,
    /// Who gets what is left after all whole shares; the lowest index of equal ones.
    pub leftover: Leftover,
}

impl Allocate {
    /// Budgets u32 `[B, S]` by `weights` f32 `[B, S]`, `totals` u32 `[B]` and `capacities` u32 `[B, S]`.
    ///
    /// A weight that is NaN or below 0 counts as 0, and so does that of a segment without capacity. Where all weights are 0, the
    /// shares are equal. An infinite weight counts as 2^128. Totals and capacities count as at most 2^31 - 1, and there are at
    /// most 65535 segments.
    pub fn build(self, graph: &mut Graph, weights: Tensor, totals: Tensor, capacities: Tensor) -> Result<Tensor, Error> {
        Ok(graph.call(self, &[weights, totals, capacities])?[0])
    }

    /// The old name of `build`.
    #[deprecated(note = "it is `build` now, as everywhere")]
    pub fn budgets(self, graph: &mut Graph, weights: Tensor, totals: Tensor, capacities: Tensor) -> Result<Tensor, Error> {
        self.build(graph, weights, totals, capacities)
    }
}

impl Kernel for Allocate {
    fn name(&self) -> &'static str {
        "allocate"
    }

    fn output_names(&self) -> &'static [&'static str] {
        &["budgets"]
    }

    fn input_count(&self) -> std::ops::RangeInclusive<usize> {
        3..=3
    }

    fn outputs(&self, inputs: &[Desc]) -> Result<Vec<Desc>, Error> {
        let [batch, segments] = inputs[0].shape.exactly("allocate: weights", "[B, S]")?;
        let budgets = Desc::new([batch, segments], Elem::U32);
        expect("allocate: weights", inputs[0], Desc::new([batch, segments], Elem::F32))?;
        expect("allocate: totals", inputs[1], Desc::new([batch], Elem::U32))?;
        expect("allocate: capacities", inputs[2], budgets)?;
        if segments > 65535 {
            let expected = "at most 65535 segments".to_owned();
            return Err(Error::Value { argument: "allocate: weights", expected, actual: segments.to_string() });
        }
        Ok(vec![budgets])
    }

    fn reference(&self, inputs: &[&HostTensor]) -> Vec<HostTensor> {
        let [_, segments] = inputs[0].dims();
        let (weights, totals, capacities) = (inputs[0].floats(), inputs[1].integers(), inputs[2].integers());
        let row = |(b, &total): (usize, &u32)| {
            let of_row = b * segments..(b + 1) * segments;
            reference::allocate(&weights[of_row.clone()], total, &capacities[of_row], self.minimum, self.leftover)
        };
        vec![HostTensor::u32(inputs[0].shape(), totals.iter().enumerate().flat_map(row).collect())]
    }

    fn batched_inputs(&self, _inputs: &[Desc]) -> Option<Vec<bool>> {
        Some(vec![true; 3])
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<(), Error> {
        let [rows, segments] = lowering.input(0).shape.exactly("allocate: weights", "[B, S]")?;
        let keys = lowering.scratch(u64::from(rows) * u64::from(segments), Elem::U32);
        let all = if segments == 0 { 0 } else { u64::from(rows) };
        let (shader, groups) = team(alone(segments, 32 * u64::from(segments), 0), &ALLOCATE, &ALLOCATE_ALONE, all);
        lowering.dispatch(Call {
            shader,
            header: Header::F32,
            constants: &[],
            slots: &[Slot::Input(0), Slot::Input(1), Slot::Input(2), Slot::Output(0), keys],
            params: Params { rows, segments, minimum: self.minimum, by_weight: u32::from(self.leftover == Leftover::LargestWeight) },
            groups,
        })
    }
}
