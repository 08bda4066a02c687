//! EVS: efficient video sampling, which keeps what changes from frame to frame.
//!
//! Bagrov et al., "Efficient Video Sampling: Pruning Temporally Redundant Tokens for Faster VLM Inference" (2025); in vLLM.

use crate::error::Error;
use crate::graph::{Graph, Tensor, expect_listed};
use crate::kernels::{Order, Statistic, TopK, TopKInputs, gather_rows, mark, pair_similarity, previous_at, reduce, row_normalize};
use crate::methods::parts::prune::Pruned;
use crate::methods::similarity::video::frames::Frames;
use crate::options;
use crate::pattern::Pattern;
use crate::schedule::{Rounding, keep_count};
use crate::tensor::{Desc, Elem, HostTensor, NONE};
use crate::token_map::{Tokens, count_by_length};

/// Keeps the tokens that are least like the same place of the frame before, and the whole first frame.
///
/// ```text
/// d_i = 1 - cos(x_i, x_(i - tokens_per_frame))
/// keep max(tokens_per_frame, floor, int(tokens (1 - prune))) of highest d, the first frame before all others, in order
/// ```
///
/// Ties go to the lowest position. Rows with a NaN or an infinity, and their successors, are kept last. Position ids are those of the kept
/// positions: `map.gather` for each component of a rotary embedding. How many are kept is known from the number of tokens.
///
/// Cost: two reads of the tokens for the similarities, a selection, one copy of what is kept; two to four small dispatches if
/// [`EvsOutput::frame_counts`] is read.
///
/// ```
/// use tokenpress::methods::Evs;
/// use tokenpress::{Elem, Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// let tokens = graph.tokens("x", [1, 4, 2], Elem::F32)?;
/// let kept = Evs { tokens_per_frame: 2, prune: 0.25, floor: 0 }.build(&mut graph, &tokens)?;
/// graph.output("kept", kept.pruned.selection.indices)?;
/// let x = HostTensor::f32([1, 4, 2], vec![1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0]);
/// let out = graph.run_reference(&[("x".to_owned(), x)].into())?;
/// assert_eq!(out["kept"].integers(), [0, 1, 3]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Evs {
    /// Tokens of a frame.
    pub tokens_per_frame: u32,
    /// Share of the tokens that goes, 0 to 1.
    pub prune: f64,
    /// At least so many stay, of a row with fewer all of them.
    pub floor: u32,
}

/// Tokens after EVS, and what chose them.
#[derive(Debug, Clone, Copy)]
pub struct EvsOutput {
    /// The tokens left, in order, and where the others went.
    pub pruned: Pruned,
    /// Cosine of each token and the same place of the frame before, `[batch, tokens]` f32; -infinity in the first frame and of text.
    pub similarity: Tensor,
    /// How many tokens of each frame stayed, u32 `[batch, frames]`.
    pub frame_counts: Tensor,
}

impl Evs {
    /// Tokens that are kept of `live`.
    pub fn kept(&self, live: u32) -> u32 {
        keep_count(live, 1.0 - self.prune, Rounding::Floor).max(self.tokens_per_frame).max(self.floor).min(live)
    }

    /// Prunes `tokens`, frame after frame.
    pub fn build(&self, graph: &mut Graph, tokens: &Tokens) -> Result<EvsOutput, Error> {
        let frames = Frames::of(tokens, self.tokens_per_frame, "evs: tokens_per_frame")?;
        options::share("evs: prune", self.prune)?;
        let capacity = tokens.capacity();
        let previous = previous_at(graph, capacity, self.tokens_per_frame);
        let marks = Pattern::split(self.tokens_per_frame, mark::PROTECTED, mark::CANDIDATE);
        let marks = graph.pattern(Desc::new([capacity], Elem::U32), marks);
        let (pruned, similarity, mask) = self.select(graph, tokens, previous, marks, |live| self.kept(live))?;
        let by_frame = frames.split(graph, mask)?;
        let live = frames.lengths(graph, tokens)?;
        let rows = tokens.batch().checked_mul(frames.count).ok_or_else(|| {
            let expected = "fewer than 2^32 frames in all rows".to_owned();
            Error::Shape { argument: "evs: tokens", expected, actual: tokens.x.shape() }
        })?;
        let (by_frame, live) = (graph.reshape(by_frame, [rows, frames.size])?, graph.reshape(live, [rows])?);
        let counts = reduce(graph, by_frame, 1, Statistic::Sum, Some(live))?;
        Ok(EvsOutput { pruned, similarity, frame_counts: graph.reshape(counts, [tokens.batch(), frames.count])? })
    }

    /// Prunes frames that have text between them, as a prompt with a time before each frame. Frame f is the tokens
    /// `starts[f] .. starts[f] + tokens_per_frame` of every row. All other tokens are text: they stay, and do not count.
    ///
    /// Of a row that ends within the frames only what lies before its end counts.
    ///
    /// ```
    /// use tokenpress::methods::Evs;
    /// use tokenpress::{Elem, Graph, HostTensor};
    ///
    /// let mut graph = Graph::new();
    /// let tokens = graph.tokens("x", [1, 6, 2], Elem::F32)?;
    /// // A word, a frame of two, a word, a frame of two.
    /// let kept = Evs { tokens_per_frame: 2, prune: 0.25, floor: 0 }.build_between(&mut graph, &tokens, &[1, 4])?;
    /// graph.output("kept", kept.pruned.selection.indices)?;
    /// graph.output("counts", kept.frame_counts)?;
    /// let x = HostTensor::f32([1, 6, 2], vec![9.0, 9.0, 1.0, 0.0, 0.0, 1.0, 9.0, 9.0, 1.0, 0.0, 1.0, 1.0]);
    /// let out = graph.run_reference(&[("x".to_owned(), x)].into())?;
    /// assert_eq!(out["kept"].integers(), [0, 1, 2, 3, 5]);
    /// assert_eq!(out["counts"].integers(), [2, 1]);
    /// # Ok::<(), tokenpress::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Value`] where frames overlap, or are not in order within the capacity.
    pub fn build_between(&self, graph: &mut Graph, tokens: &Tokens, starts: &[u32]) -> Result<EvsOutput, Error> {
        let size = self.tokens_per_frame;
        Frames::of(tokens, size, "evs: tokens_per_frame")?;
        options::share("evs: prune", self.prune)?;
        let capacity = tokens.capacity();
        let in_order = starts.windows(2).all(|pair| pair[0].checked_add(size).is_some_and(|end| end <= pair[1]));
        if !in_order || starts.last().is_some_and(|last| last.checked_add(size).is_none_or(|end| end > capacity)) {
            let expected = format!("frames of {size} tokens one after the other, within {capacity}");
            return Err(Error::Value { argument: "evs: starts", expected, actual: format!("{starts:?}") });
        }
        expect_listed("evs: tokens", [capacity].into())?;
        let (mut marks, mut previous) = (vec![mark::PROTECTED; capacity as usize], vec![NONE; capacity as usize]);
        for pair in starts.windows(2) {
            for i in 0..size {
                marks[(pair[1] + i) as usize] = mark::CANDIDATE;
                previous[(pair[1] + i) as usize] = pair[0] + i;
            }
        }
        let marks = graph.constant(HostTensor::u32([capacity], marks));
        let previous = graph.constant(HostTensor::u32([capacity], previous));
        let kept = |live: u32| {
            let begun = starts.partition_point(|start| *start < live);
            let last = starts[..begun].last().map_or(0, |start| (live - start).min(size));
            let seen = begun.saturating_sub(1) as u32 * size + last;
            live - seen + self.kept(seen)
        };
        let (pruned, similarity, mask) = self.select(graph, tokens, previous, marks, kept)?;
        let places = starts.iter().flat_map(|start| *start..start + size).collect::<Vec<_>>();
        let count = starts.len() as u32;
        let places = graph.constant(HostTensor::u32([count * size], places));
        let of_frames = gather_rows(graph, mask, places, None)?;
        let of_frames = graph.reshape(of_frames, [tokens.batch(), count, size])?;
        Ok(EvsOutput { pruned, similarity, frame_counts: reduce(graph, of_frames, 2, Statistic::Sum, None)? })
    }

    /// The tokens left, their similarities, and a mask of those that stay.
    fn select(
        &self,
        graph: &mut Graph,
        tokens: &Tokens,
        previous: Tensor,
        marks: Tensor,
        kept: impl Fn(u32) -> u32,
    ) -> Result<(Pruned, Tensor, Tensor), Error> {
        let (capacity, lengths) = (tokens.capacity(), Some(tokens.lengths));
        let normalized = row_normalize(graph, tokens.x, lengths)?;
        let similarity = pair_similarity(graph, normalized, previous, lengths)?;
        let (counts, k) = count_by_length(graph, tokens.lengths, capacity, kept)?;
        let select = TopK { k, order: Order::Index, largest: false, complement: Some(Order::Index), mask: true };
        let inputs = TopKInputs { scores: similarity, lengths, counts: Some(counts), marks: Some(marks) };
        let selection = select.build(graph, inputs)?;
        let mask = selection.mask.unwrap_or(selection.indices);
        Ok((Pruned::of(graph, tokens, selection)?, similarity, mask))
    }
}
