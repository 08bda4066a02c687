//! Sound: frames stacked or averaged before a language model.

use crate::error::Error;
use crate::graph::{Graph, Tensor};
use crate::kernels::operands::lengths_or_full;
use crate::kernels::{Pool, Windows, gather_rows, keep_live};
use crate::token_map::count_by_length;

/// Every `factor` frames that follow each other as one frame of all their channels; what fills no stack is dropped.
///
/// ```text
/// stacked[b, i] = [x[b, factor i], .., x[b, factor i + factor - 1]]      i < floor(lengths[b] / factor)
/// ```
///
/// `x` is `[B, T, C]` of any element type; `lengths` u32 `[B]` are the live frames, all T for `None`. Gives
/// `[B, floor(T / factor), factor * C]` and its lengths, u32 `[B]`. A factor of 0 is an error.
///
/// SLAM-ASR (`https://arxiv.org/abs/2402.08846`) and LLaMA-Omni (`https://arxiv.org/abs/2409.06666`) stack 5 frames before their linear
/// layers.
///
/// Cost: a reshape; one copy where T is no multiple, and one for rows of different lengths.
///
/// ```
/// use tokenpress::methods::stack_frames;
/// use tokenpress::{Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// let sound = graph.constant(HostTensor::f32([1, 5, 1], vec![1.0, 2.0, 3.0, 4.0, 5.0]));
/// let (stacked, _) = stack_frames(&mut graph, sound, None, 2)?;
/// graph.output("stacked", stacked)?;
/// assert_eq!(stacked.shape().dims(), [1, 2, 2]);
/// assert_eq!(graph.run_reference(&[].into())?["stacked"].floats(), [1.0, 2.0, 3.0, 4.0]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[doc(alias = "frame_stacking")]
pub fn stack_frames(graph: &mut Graph, x: Tensor, lengths: Option<Tensor>, factor: u32) -> Result<(Tensor, Tensor), Error> {
    let [batch, frames, channels] = x.shape().exactly("stack_frames: x", "[B, T, C]")?;
    let (Some(stacks), Some(wide)) = (frames.checked_div(factor), channels.checked_mul(factor)) else {
        let expected = "at least 1, and fewer than 2^32 channels together".to_owned();
        return Err(Error::Value { argument: "stack_frames: factor", expected, actual: factor.to_string() });
    };
    let mut x = x;
    if let Some(lengths) = lengths {
        let (whole, _) = count_by_length(graph, lengths, frames, |live| live / factor * factor)?;
        x = keep_live(graph, x, whole)?;
    }
    if stacks * factor < frames {
        let index = graph.counted([stacks * factor], 0, 1);
        x = gather_rows(graph, x, index, None)?;
    }
    let stacked = graph.reshape(x, [batch, stacks, wide])?;
    let lengths = lengths_or_full(graph, lengths, batch, frames);
    Ok((stacked, count_by_length(graph, lengths, frames, |live| live / factor)?.0))
}

/// The mean of every `size` frames, `stride` apart; what fills no window is dropped. PyTorch's `AvgPool1d(size, stride)`.
///
/// `x` is f32, f16 or bf16 `[B, T, C]`; `lengths` u32 `[B]` are the live frames, all T for `None`. Gives
/// `[B, floor((T - size) / stride) + 1, C]` and its lengths, u32 `[B]`. Qwen2-Audio (`https://arxiv.org/abs/2407.10759`) takes pairs,
/// `size` and `stride` 2, after its encoder. Errors are those of [`Pool::build`].
///
/// Cost: one dispatch; windows that do not overlap read each frame once.
///
/// ```
/// use tokenpress::methods::average_frames;
/// use tokenpress::{Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// let sound = graph.constant(HostTensor::f32([1, 5, 1], vec![1.0, 2.0, 3.0, 4.0, 5.0]));
/// let (averaged, _) = average_frames(&mut graph, sound, None, 2, 2)?;
/// graph.output("averaged", averaged)?;
/// assert_eq!(graph.run_reference(&[].into())?["averaged"].floats(), [1.5, 3.5]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[doc(alias = "avg_pool1d")]
pub fn average_frames(graph: &mut Graph, x: Tensor, lengths: Option<Tensor>, size: u32, stride: u32) -> Result<(Tensor, Tensor), Error> {
    let [batch, frames, _] = x.shape().exactly("average_frames: x", "[B, T, C]")?;
    let pool = Pool::Average(Windows::Strided { size: [1, size], stride: [1, stride], partial: false });
    let averaged = pool.build(graph, x, [1, frames], lengths)?;
    let lengths = lengths_or_full(graph, lengths, batch, frames);
    Ok((averaged, count_by_length(graph, lengths, frames, |live| pool.outputs([1, live])[1])?.0))
}
