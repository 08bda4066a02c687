//! Windows of frames in which places stay as they are.

use crate::checks::expect;
use crate::device::{BindingElem::U32, Call, Header, Lowering, Shader, Slot, params};
use crate::error::Error;
use crate::graph::{Graph, Kernel, Tensor};
use crate::kernels::operands::{lengths_or_full, steps_of_dispatch};
use crate::reference;
use crate::tensor::{Desc, Elem, HostTensor};

params! {
    struct Params {
        batch: u32,
        frames: u32,
        places: u32,
        longest: u32,
        /// Frames of this dispatch; none of the last one.
        first: u32,
        last: u32,
    }
}

pub(super) static STATIC_WINDOWS: Shader = Shader {
    name: "static_windows",
    source: include_str!("../../../shaders/select/static_windows.wgsl"),
    includes: &[],
    headers: &[Header::U32],
    inputs: &[("joins", U32), ("lengths", U32)],
    outputs: &[("start", U32), ("memory", U32)],
    params: Params::NAMES,
    tunings: &[&[]],
};

/// Divides the frames of a video into windows, so that places that do not change within a window leave out the most.
///
/// ```text
/// a place is static in a window if it joins the frame before in each of the window's frames but the first
/// the windows maximise the sum over windows of: static places (frames - 1)
/// ```
///
/// Each window then needs its static places once. The sum is found by a dynamic program over the frames. Of several best last windows the
/// shortest is taken, and so on for the frames before it. This is the segmentation of HoliTom, `https://arxiv.org/abs/2505.21334`.
///
/// Cost: T steps of one workgroup for each batch row of T frames, a dispatch for each some hundred of them and one more; one read of the
/// joins. Workspace: `4 (P + 2 T)` bytes a row of P places.
///
/// ```
/// use tokenpress::kernels::StaticWindows;
/// use tokenpress::{Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// // Four frames of two places. The second place changes once, from the second frame to the third.
/// let joins = graph.constant(HostTensor::u32([1, 4, 2], vec![0, 0, 1, 1, 1, 0, 1, 1]));
/// let start = StaticWindows::default().build(&mut graph, joins, None)?;
/// graph.output("start", start)?;
/// // Two windows leave out two places each; one window would leave out one place three times.
/// assert_eq!(graph.run_reference(&[].into())?["start"].integers(), [0, 0, 2, 2]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[doc(alias("temporal_segmentation", "dynamic_programming"))]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct StaticWindows {
    /// Frames of a window at most, from 1 to 1024.
    pub longest: u32,
}

/// Up to 1024 frames.
impl Default for StaticWindows {
    fn default() -> Self {
        Self { longest: MOST }
    }
}

/// Lengths that a workgroup counts.
const MOST: u32 = 1024;

/// As many frames as one invocation goes back over.
const MOST_FRAMES: u32 = 32768;

impl StaticWindows {
    /// The first frame of each frame's window, u32 `[B, T]`, [`NONE`](crate::NONE) for dead frames.
    ///
    /// `joins` is u32 `[B, T, P]` of at most 32768 frames: anything but 0 where a place is like that of the frame before; those of the
    /// first frame do not matter. The first `lengths[b]` frames are alive (u32 `[B]`, all for `None`). Exact.
    ///
    /// # Errors
    /// [`Error::Shape`] and [`Error::Elem`] for other tensors. [`Error::Value`] for another `longest`, and for more frames.
    pub fn build(self, graph: &mut Graph, joins: Tensor, lengths: Option<Tensor>) -> Result<Tensor, Error> {
        let [batch, frames, _] = joins.shape().exactly("static_windows: joins", "[B, T, P]")?;
        let lengths = lengths_or_full(graph, lengths, batch, frames);
        Ok(graph.call(self, &[joins, lengths])?[0])
    }
}

impl Kernel for StaticWindows {
    fn name(&self) -> &'static str {
        "static_windows"
    }

    fn output_names(&self) -> &'static [&'static str] {
        &["start"]
    }

    fn outputs(&self, inputs: &[Desc]) -> Result<Vec<Desc>, Error> {
        if !(1..=MOST).contains(&self.longest) {
            let (expected, actual) = (format!("1 to {MOST}"), self.longest.to_string());
            return Err(Error::Value { argument: "static_windows: longest", expected, actual });
        }
        let [batch, frames, places] = inputs[0].shape.exactly("static_windows: joins", "[B, T, P]")?;
        expect("static_windows: joins", inputs[0], Desc::new([batch, frames, places], Elem::U32))?;
        expect("static_windows: lengths", inputs[1], Desc::new([batch], Elem::U32))?;
        if frames > MOST_FRAMES {
            let (expected, actual) = (format!("at most {MOST_FRAMES} frames"), frames.to_string());
            return Err(Error::Value { argument: "static_windows: joins", expected, actual });
        }
        Ok(vec![Desc::new([batch, frames], Elem::U32)])
    }

    fn reference(&self, inputs: &[&HostTensor]) -> Vec<HostTensor> {
        let [batch, frames, places] = inputs[0].dims();
        let row = |b: usize| {
            let joins = &inputs[0].integers()[b * frames * places..][..frames * places];
            reference::static_windows(joins, frames, self.longest as usize, inputs[1].integers()[b] as usize)
        };
        vec![HostTensor::u32([batch as u32, frames as u32], (0..batch).flat_map(row).collect())]
    }

    fn batched_inputs(&self, _inputs: &[Desc]) -> Option<Vec<bool>> {
        Some(vec![true; 2])
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<(), Error> {
        let [batch, frames, places] = lowering.input(0).shape.exactly("static_windows: joins", "[B, T, P]")?;
        if frames == 0 {
            return Ok(());
        }
        let memory = lowering.scratch(u64::from(batch) * (u64::from(places) + 2 * u64::from(frames)), Elem::U32);
        // Of a frame: places, counts to clear, to add up and to look at, doublings.
        let steps_each = steps_of_dispatch(u64::from(places.div_ceil(128)) + 32);
        let steps = (0..frames).step_by(steps_each as usize).map(|first| (first, first.saturating_add(steps_each).min(frames)));
        for (first, last) in steps.chain([(frames, frames)]) {
            lowering.dispatch(Call {
                shader: &STATIC_WINDOWS,
                header: Header::U32,
                constants: &[],
                slots: &[Slot::Input(0), Slot::Input(1), Slot::Output(0), memory],
                params: Params { batch, frames, places, longest: self.longest, first, last },
                groups: u64::from(batch),
            })?;
        }
        Ok(())
    }
}
