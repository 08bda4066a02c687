//! LLaVA-Video: every frame's grid of tokens pooled, with learned newline tokens between them.
//!
//! Zhang et al., "Video Instruction Tuning with Synthetic Data" (2024), `https://arxiv.org/abs/2410.02713`; `llava_arch.py` of
//! LLaVA-VL/LLaVA-NeXT.

use crate::error::Error;
use crate::graph::{Graph, Tensor};
use crate::kernels::operands::lengths_or_full;
use crate::kernels::{Pool, Windows, concat_rows, keep_live};
use crate::methods::parts::affine::repeat;
use crate::methods::transformation::faster::{Faster, by_kind};
use crate::methods::transformation::newline::{Newline, appended, behind_rows};
use crate::token_map::count_by_length;

/// How [`LlavaVideo`] makes a grid smaller (`mm_spatial_pool_mode`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum PoolMode {
    /// The mean of each whole `stride` x `stride` cell: `floor(h / stride) x floor(w / stride)`.
    Average,
    /// The largest of each channel in such a cell.
    Max,
    /// Interpolated to `ceil(h / stride) x ceil(w / stride)`, corners not aligned, without antialiasing.
    #[default]
    Bilinear,
}

/// The tokens of a video, frame by frame, row by row.
///
/// 27 x 27 tokens with a stride of 2 become 13 x 13 by averages and 14 x 14 by interpolation. Published models were trained
/// with interpolation; their evaluation scripts average. Which frames a video has is the caller's choice.
///
/// The published code doubles the stride once more for every further video of a batch. That is a slip, and is not repeated here. It has
/// faster frames with [`Newline::EachRow`] only.
///
/// Cost: one dispatch for the pooling, two for each learned token; with [`Faster`] another pooling and four.
///
/// ```
/// use tokenpress::methods::{LlavaVideo, Newline};
/// use tokenpress::{Elem, Graph, HostTensor};
/// let mut graph = Graph::new();
/// let video = graph.input("video", [1, 2, 9, 1], Elem::F32); // two frames of 3 x 3 tokens
/// let newline = graph.constant(HostTensor::f32([1], vec![-1.0]));
/// let method = LlavaVideo { newline: Newline::EachRow(newline), ..Default::default() };
/// let (tokens, _) = method.build(&mut graph, video, [3, 3], None)?;
/// graph.output("tokens", tokens)?;
/// let video = HostTensor::f32([1, 2, 9, 1], (0..18).map(|i| i as f32).collect());
/// let outputs = graph.run_reference(&[("video".to_owned(), video)].into())?;
/// assert_eq!(outputs["tokens"].floats(), [1.0, 2.5, -1.0, 5.5, 7.0, -1.0, 10.0, 11.5, -1.0, 14.5, 16.0, -1.0]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LlavaVideo {
    /// How a grid becomes smaller.
    pub mode: PoolMode,
    /// By how much on each axis, at least 1 (`mm_spatial_pool_stride`, 2).
    pub stride: u32,
    /// What separates rows or frames.
    pub newline: Newline,
    /// Whether most frames have fewer tokens.
    pub faster: Option<Faster>,
}

impl Default for LlavaVideo {
    fn default() -> Self {
        Self { mode: PoolMode::default(), stride: 2, newline: Newline::None, faster: None }
    }
}

impl LlavaVideo {
    /// Tokens `[B, N', C]` of the videos `x` `[B, F, h * w, C]`, and how many of each are alive, u32 `[B]`.
    ///
    /// `grid` is `[h, w]`. `frames` u32 `[B]` are the live frames of each video, all F for `None`. x is f32, f16 or bf16, the learned
    /// tokens are of its type. A video without frames has no tokens, or only that of [`Newline::End`].
    ///
    /// # Errors
    /// [`Error::Value`] for strides and intervals of 0 or above 2^23, and for cells larger than the grid, which would leave nothing.
    /// [`Error::Shape`] and [`Error::Elem`] for tensors that are not as above.
    pub fn build(&self, graph: &mut Graph, x: Tensor, grid: [u32; 2], frames: Option<Tensor>) -> Result<(Tensor, Tensor), Error> {
        let [batch, count, tokens, channels] = x.shape().exactly("llava_video: x", "[B, F, h * w, C]")?;
        let every = self.faster.map_or(1, |faster| faster.every);
        if every == 0 || !(1..=1 << 23).contains(&self.stride) {
            let actual = format!("{} and {every}", self.stride);
            return Err(Error::Value { argument: "llava_video: stride", expected: "strides from 1 to 2^23".to_owned(), actual });
        }
        // With room for a token after each row and two after each frame.
        let outer = [batch, count, channels].map(|d| u128::from(d.max(1))).iter().product::<u128>();
        if outer.saturating_mul(u128::from(tokens) + u128::from(grid[0]) + 2) > u128::from(u32::MAX) {
            let expected = "fewer than 2^32 elements, newlines included".to_owned();
            return Err(Error::Shape { argument: "llava_video: x", expected, actual: x.shape() });
        }
        let lengths = lengths_or_full(graph, frames, batch, count);
        let (x, sizes) = by_kind(graph, x, every, |graph, frames, fewer| {
            let stride = if fewer { 2 * self.stride } else { self.stride };
            self.frames(graph, frames, grid, stride)
        })?;
        // Tokens of the first so many frames.
        let mut ends = vec![0; sizes.len() + 1];
        (0..sizes.len()).for_each(|frame| ends[frame + 1] = ends[frame] + sizes[frame]);
        let (lengths, _) = count_by_length(graph, lengths, count, |live| ends[live as usize])?;
        match self.newline {
            Newline::End(row) => {
                let row = graph.reshape(row, [1, channels])?;
                let row = repeat(graph, "llava_video: newline", row, batch)?;
                concat_rows(graph, (x, Some(lengths)), (row, None))
            }
            _ if frames.is_some() => Ok((keep_live(graph, x, lengths)?, lengths)),
            _ => Ok((x, lengths)),
        }
    }

    /// Frames `[F, h * w, C]` pooled, with what is after each of their rows and each of them.
    fn frames(&self, graph: &mut Graph, x: Tensor, [h, w]: [u32; 2], stride: u32) -> Result<Tensor, Error> {
        let pool = match self.mode {
            PoolMode::Average => Pool::Average(Windows::cells(stride)),
            PoolMode::Max => Pool::Max(Windows::cells(stride)),
            PoolMode::Bilinear => Pool::Bilinear([h.div_ceil(stride), w.div_ceil(stride)]),
        };
        if self.mode != PoolMode::Bilinear && stride > h.min(w) && h.min(w) > 0 {
            let expected = format!("at most {}, the smaller side of the grid, of which a larger cell leaves nothing", h.min(w));
            return Err(Error::Value { argument: "llava_video: stride", expected, actual: stride.to_string() });
        }
        let [rows, columns] = pool.outputs([h, w]);
        let mut x = pool.build(graph, x, [h, w], None)?;
        match self.newline {
            Newline::EachRow(row) => x = behind_rows(graph, x, [rows, columns], row)?,
            Newline::EachFrame(row) => x = appended(graph, x, row)?,
            Newline::End(_) | Newline::None => {}
        }
        match self.faster {
            Some(faster) => appended(graph, x, faster.token),
            None => Ok(x),
        }
    }
}
