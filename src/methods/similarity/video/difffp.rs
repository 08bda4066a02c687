//! DiffFP: VideoLLaMA3's pruner of frames by difference.
//!
//! Zhang et al., "VideoLLaMA 3: Frontier Multimodal Foundation Models for Image and Video Understanding" (2025); in transformers.

use crate::error::Error;
use crate::graph::Graph;
use crate::kernels::{Distance, Limit, Threshold, ThresholdInputs, compact, mark, pair_distance, previous_at};
use crate::methods::parts::keep::keep_marked;
use crate::methods::parts::lists::{allowed, choose, live_mask, product};
use crate::methods::similarity::video::frames::Frames;
use crate::options;
use crate::token_map::{Compressed, Tokens};

/// Keeps the tokens that differ from the same place of the frame before, and the whole first frame.
///
/// ```text
/// d_i = 255 mean_c |x_(i, c) - x_(i - tokens_per_frame, c)|
/// keep the first frame, and those with d_i > threshold; of a frame that keeps fewer than `floor` the first `floor` too; in order
/// ```
///
/// The published tokens are the pixels of merged patches, as the vision tower gets them: normalised, and side by side. Position ids are
/// those of the kept positions: `map.gather`. Tokens with a NaN or an infinity, and their successors, are not kept for their difference.
/// There are no ties. How many tokens are kept is on the GPU.
///
/// Cost: two reads of the tokens for the distances, about six small dispatches, one copy of what is kept.
///
/// ```
/// use tokenpress::methods::DiffFp;
/// use tokenpress::{Elem, Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// let tokens = graph.tokens("x", [1, 6, 1], Elem::F32)?;
/// let kept = DiffFp { tokens_per_frame: 2, ..Default::default() }.build(&mut graph, &tokens)?;
/// graph.output("kept", kept.map.representative)?;
/// // Of the second frame the second token changes, of the third none: its first one stays.
/// let x = HostTensor::f32([1, 6, 1], vec![0.5, 0.5, 0.5, 0.25, 0.5, 0.25]);
/// let out = graph.run_reference(&[("x".to_owned(), x)].into())?;
/// assert_eq!(out["kept"].integers()[..4], [0, 1, 3, 4]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[doc(alias("videollama3", "frame_difference"))]
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DiffFp {
    /// Tokens of a frame.
    pub tokens_per_frame: u32,
    /// The mean difference above which a token is kept, in steps of 8 bits.
    pub threshold: f32,
    /// At least so many of a frame stay, of a frame with fewer all of them.
    pub floor: u32,
}

/// The published setting, for frames of one token.
impl Default for DiffFp {
    fn default() -> Self {
        Self { tokens_per_frame: 1, threshold: 0.1, floor: 1 }
    }
}

impl DiffFp {
    /// Prunes `tokens`, frame after frame.
    pub fn build(&self, graph: &mut Graph, tokens: &Tokens) -> Result<Compressed, Error> {
        let frames = Frames::of(tokens, self.tokens_per_frame, "difffp: tokens_per_frame")?;
        options::threshold("difffp: threshold", self.threshold)?;
        let (capacity, lengths) = (tokens.capacity(), Some(tokens.lengths));
        let rows = product("difffp: tokens", tokens.x.shape(), tokens.batch(), frames.count)?;
        let previous = previous_at(graph, capacity, self.tokens_per_frame);
        let difference = pair_distance(graph, tokens.x, previous, Distance::MeanAbsolute, lengths)?;
        let limit = (f64::from(self.threshold) / 255.0) as f32;
        let changed = ThresholdInputs { lengths, ..ThresholdInputs::new(difference, Limit::Constant(limit)) };
        let mask = Threshold::default().build(graph, changed)?;

        // Every frame as a row: of those with too few the first ones.
        let live = frames.lengths(graph, tokens)?;
        let live = graph.reshape(live, [rows])?;
        let by_frame = frames.split(graph, mask)?;
        let by_frame = graph.reshape(by_frame, [rows, frames.size])?;
        let kept = compact(graph, by_frame, Some(live))?.counts;
        let floor = self.floor.min(frames.size);
        let first = choose(graph, kept, floor, [floor, 0])?;
        let first = live_mask(graph, first, frames.size)?;
        let marks = choose(graph, first, 1, [mark::CANDIDATE, mark::PROTECTED])?;
        let mask = allowed(graph, [rows, frames.size], Some(live), Some(marks), by_frame)?;
        let mask = frames.joined(graph, mask, tokens)?;
        keep_marked(graph, tokens, mask, capacity)
    }
}
