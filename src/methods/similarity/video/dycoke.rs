//! DyCoke: tokens that a frame has in common with an earlier one are left out.
//!
//! Tao et al., "DyCoke: Dynamic Compression of Tokens for Fast Video Large Language Models" (CVPR 2025): its temporal token merging.

use crate::error::Error;
use crate::graph::Graph;
use crate::kernels::{TopK, TopKInputs, gather_rows, pair_similarity, previous_at, row_normalize};
use crate::methods::parts::keep::keep_marked;
use crate::methods::parts::lists::{each_row, select_mask};
use crate::methods::similarity::video::frames::Frames;
use crate::options;
use crate::schedule::{Rounding, keep_count};
use crate::tensor::NONE;
use crate::token_map::{Compressed, Tokens};

/// Of every four frames keeps the first whole, and of the others what is least like an earlier one.
///
/// ```text
/// frame 4i        whole
/// frame 4i + 1    the int((1 - merge) n) of its n tokens that are least like the same place of frame 4i
/// frame 4i + 2    ... of frame 4i
/// frame 4i + 3    ... of frame 4i + 2
/// ```
///
/// What is kept stays in order; the published code has it in ascending similarity within a frame. Every frame is treated alike. The
/// published code leaves frame 4i + 2 of the last group whole, drops an odd last frame, and needs more than four frames. Ties go to the
/// lowest position. Rows with a NaN or an infinity are kept last.
///
/// Cost: two reads of the tokens for each of two similarities, a selection, one copy of what is kept.
///
/// ```
/// use tokenpress::methods::DyCoke;
/// use tokenpress::{Elem, Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// let tokens = graph.tokens("x", [1, 4, 2], Elem::F32)?;
/// let kept = DyCoke { tokens_per_frame: 2, merge: 0.5 }.build(&mut graph, &tokens)?;
/// graph.output("kept", kept.map.representative)?;
/// let x = HostTensor::f32([1, 4, 2], vec![1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0]);
/// let out = graph.run_reference(&[("x".to_owned(), x)].into())?;
/// assert_eq!(out["kept"].integers(), [0, 1, 3]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DyCoke {
    /// Tokens of a frame.
    pub tokens_per_frame: u32,
    /// Share of a frame's tokens that goes, 0 to 1; the published code's is 0.7.
    pub merge: f64,
}

impl DyCoke {
    /// Tokens of a frame that are kept: all of every fourth.
    pub fn kept(&self, frame: u32) -> u32 {
        let ratio = if frame.is_multiple_of(4) { 1.0 } else { 1.0 - self.merge };
        keep_count(self.tokens_per_frame, ratio, Rounding::Floor)
    }

    /// Prunes `tokens`, frame after frame.
    pub fn build(&self, graph: &mut Graph, tokens: &Tokens) -> Result<Compressed, Error> {
        let frames = Frames::of(tokens, self.tokens_per_frame, "dycoke: tokens_per_frame")?;
        options::share("dycoke: merge", self.merge)?;
        let (capacity, lengths) = (tokens.capacity(), Some(tokens.lengths));
        let normalized = row_normalize(graph, tokens.x, lengths)?;
        let [near, far] = [1, 2].map(|frames| previous_at(graph, capacity, self.tokens_per_frame.saturating_mul(frames)));
        let near = pair_similarity(graph, normalized, near, lengths)?;
        let far = pair_similarity(graph, normalized, far, lengths)?;
        let odd = |i: u32| if i / self.tokens_per_frame % 2 == 1 { i } else { NONE };
        let odd = graph.listed("tokens: x", [capacity], || (0..capacity).map(odd).collect())?;
        let similarity = gather_rows(graph, near, odd, Some(far))?;

        let per_frame: Vec<u32> = (0..frames.count).map(|frame| self.kept(frame)).collect();
        let outputs = per_frame.iter().sum::<u32>().min(capacity);
        let counts = each_row(graph, tokens.batch(), &per_frame)?;
        let lengths = frames.lengths(graph, tokens)?;
        let scores = frames.split(graph, similarity)?;
        let select = TopK { k: frames.size, largest: false, ..Default::default() };
        let inputs = TopKInputs { lengths: Some(lengths), counts: Some(counts), ..TopKInputs::new(scores) };
        let mask = select_mask(graph, select, inputs)?;
        let mask = frames.joined(graph, mask, tokens)?;
        keep_marked(graph, tokens, mask, outputs)
    }
}
