//! EVS: efficient video sampling, which keeps what changes from frame to frame.
//!
//! Bagrov et al., "Efficient Video Sampling: Pruning Temporally Redundant Tokens for Faster VLM Inference" (2025); in vLLM.

use crate::error::Error;
use crate::graph::{Graph, Tensor};
use crate::kernels::{Order, TopK, TopKInputs, mark, pair_similarity, previous_at, row_normalize};
use crate::methods::parts::prune::Pruned;
use crate::methods::similarity::video::Frames;
use crate::options;
use crate::pattern::Pattern;
use crate::schedule::{Rounding, keep_count};
use crate::tensor::{Desc, Elem};
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
/// Cost: two reads of the tokens for the similarities, a selection, one copy of what is kept.
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
    /// Cosine of each token and the same place of the frame before, `[batch, tokens]` f32; -infinity in the first frame.
    pub similarity: Tensor,
}

impl Evs {
    /// Tokens that are kept of `live`.
    pub fn kept(&self, live: u32) -> u32 {
        keep_count(live, 1.0 - self.prune, Rounding::Floor).max(self.tokens_per_frame).max(self.floor).min(live)
    }

    /// Prunes `tokens`, frame after frame.
    pub fn build(&self, graph: &mut Graph, tokens: &Tokens) -> Result<EvsOutput, Error> {
        Frames::of(tokens, self.tokens_per_frame, "evs: tokens_per_frame")?;
        options::share("evs: prune", self.prune)?;
        let (capacity, lengths) = (tokens.capacity(), Some(tokens.lengths));
        let normalized = row_normalize(graph, tokens.x, lengths)?;
        let previous = previous_at(graph, capacity, self.tokens_per_frame);
        let similarity = pair_similarity(graph, normalized, previous, lengths)?;
        let marks = Pattern::split(self.tokens_per_frame, mark::PROTECTED, mark::CANDIDATE);
        let marks = graph.pattern(Desc::new([capacity], Elem::U32), marks);
        let (counts, k) = count_by_length(graph, tokens.lengths, capacity, |live| self.kept(live))?;
        let select = TopK { k, order: Order::Index, largest: false, complement: Some(Order::Index), mask: false };
        let inputs = TopKInputs { scores: similarity, lengths, counts: Some(counts), marks: Some(marks) };
        let selection = select.build(graph, inputs)?;
        Ok(EvsOutput { pruned: Pruned::of(graph, tokens, selection)?, similarity })
    }
}
