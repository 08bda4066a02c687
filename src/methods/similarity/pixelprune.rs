//! PixelPrune: patches that their neighbours predict are left out before the vision tower.
//!
//! "PixelPrune" (2026), `https://github.com/OPPO-Mente-Lab/PixelPrune`.

use crate::error::Error;
use crate::graph::{Graph, Tensor};
use crate::kernels::{
    Distance, GridAnchors, Limit, Relation, Threshold, ThresholdInputs, compact, gather_rows, lookup, mark, pair_distance,
};
use crate::methods::parts::lists::{allowed, choose, either, marks_of, product};
use crate::methods::parts::runs::collapse;
use crate::options;
use crate::tensor::{HostTensor, NONE};
use crate::token_map::{Compressed, TokenMap, Tokens};

/// Keeps the tokens of a grid that differ from what the tokens to the left and above predict.
///
/// ```text
/// a, b, c: the tokens to the left, above, and above to the left         near: their distance is at most the threshold
/// prediction = b if near(c, a) and not near(c, b), else a               in the first row a, in the first column b
/// keep the first token, and those that are not near their prediction, in order
/// ```
///
/// With `anchored` the kept token that stands for a, b or c takes its place, so that errors do not add up. With a threshold of 0 both are
/// the same. What is kept stays as it is, and its size is that of all that it stands for. [`TokenMap::parent`] of a dropped token is the
/// kept one that it is predicted by, so that [`TokenMap::unmerge`] fills the grid.
///
/// The published tokens are the pixels of `merge^2` successive patches, from 0 to 1, side by side: reshape patches `[B, N merge^2, C]` to
/// `[B, N, merge^2 C]`, and what is kept back. Position ids are those of the kept positions: `map.gather`. Tokens with a NaN or an infinity
/// are kept, and predict nothing. There are no ties. How many tokens are kept is on the GPU.
///
/// Cost: two reads of the tokens for each of two distances, about fifteen small dispatches of integers, one copy of what is kept. Anchored,
/// above a threshold of 0, it is the walk of [`GridAnchors`] in place of the distances: one workgroup for each row of the batch.
///
/// ```
/// use tokenpress::methods::PixelPrune;
/// use tokenpress::{Elem, Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// // Two rows of three tokens.
/// let tokens = graph.tokens("x", [1, 6, 1], Elem::F32)?;
/// let kept = PixelPrune { width: 3, ..Default::default() }.build(&mut graph, &tokens)?;
/// graph.output("kept", kept.map.representative)?;
/// graph.output("parent", kept.map.parent)?;
/// let x = HostTensor::f32([1, 6, 1], vec![0.0, 0.0, 0.5, 0.0, 0.0, 0.5]);
/// let out = graph.run_reference(&[("x".to_owned(), x)].into())?;
/// assert_eq!(out["kept"].integers()[..2], [0, 2]);
/// assert_eq!(out["parent"].integers(), [0, 0, 1, 0, 0, 1]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[doc(alias("loco", "jpeg_ls", "pixels"))]
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PixelPrune {
    /// Tokens of a row of the grid, at least 1.
    pub width: u32,
    /// How far two tokens are apart.
    pub measure: Distance,
    /// The largest distance of tokens that are near.
    pub threshold: f32,
    /// Whether tokens are compared with what stands for their neighbours, in place of these.
    pub anchored: bool,
}

/// The published setting: equal tokens.
impl Default for PixelPrune {
    fn default() -> Self {
        Self { width: 1, measure: Distance::Largest, threshold: 0.0, anchored: true }
    }
}

impl PixelPrune {
    /// Prunes `tokens`, row after row of a grid.
    pub fn build(&self, graph: &mut Graph, tokens: &Tokens) -> Result<Compressed, Error> {
        tokens.checked()?;
        options::within("pixelprune: width", 1..=u32::MAX, self.width)?;
        options::threshold("pixelprune: threshold", self.threshold)?;
        let map = if self.anchored && self.threshold > 0.0 { self.walked(graph, tokens)? } else { self.compared(graph, tokens)? };
        let kept = map.pick(graph, tokens)?;
        let size = map.sizes(graph, tokens.size)?;
        Ok(Compressed { tokens: Tokens { size, ..kept.tokens }, map })
    }

    /// By what stands for the neighbours.
    fn walked(&self, graph: &mut Graph, tokens: &Tokens) -> Result<TokenMap, Error> {
        let Self { width, measure, threshold, .. } = *self;
        let anchors = GridAnchors { width, measure, threshold }.build(graph, tokens.x, Some(tokens.lengths))?;
        let kept = marks_of(graph, anchors, tokens.capacity(), mark::PROTECTED)?;
        let kept = compact(graph, kept, Some(tokens.lengths))?;
        let parent = gather_rows(graph, kept.ranks, anchors, None)?;
        Ok(TokenMap { parent, representative: kept.indices, lengths: kept.counts })
    }

    /// By the neighbours themselves.
    fn compared(&self, graph: &mut Graph, tokens: &Tokens) -> Result<TokenMap, Error> {
        let [batch, capacity, _] = tokens.checked()?;
        let all = product("pixelprune: tokens", tokens.x.shape(), batch, capacity)?;
        let to_left = |i: u32| if i.is_multiple_of(self.width) { NONE } else { i - 1 };
        let above = |i: u32| i.checked_sub(self.width).unwrap_or(NONE);
        let left = graph.listed("tokens: x", [batch, capacity], || (0..all).map(|at| to_left(at % capacity)).collect())?;
        let above = graph.listed("tokens: x", [batch, capacity], || (0..all).map(|at| above(at % capacity)).collect())?;
        let near_left = self.near(graph, tokens, left)?;
        let near_above = self.near(graph, tokens, above)?;
        // near(c, a) is whether the token to the left is near the one above it, and near(c, b) whether the one above is near that to its left.
        let left_is_near_above = gather_rows(graph, near_above, left, None)?;
        let above_is_near_left = gather_rows(graph, near_left, above, None)?;
        // In the first column it is the token above in any case.
        let marks = graph.constant(HostTensor::u32([3], vec![mark::EXCLUDED, mark::CANDIDATE, mark::PROTECTED]));
        let marks = lookup(graph, marks, left_is_near_above)?;
        let among = choose(graph, above_is_near_left, 1, [1, 0])?;
        let by_above = allowed(graph, [batch, capacity], None, Some(marks), among)?;
        // Each token as a row of its own.
        let by_above = graph.reshape(by_above, [all, 1])?;
        let mut chosen = |lists: [Tensor; 2]| {
            let [left, above] = lists.map(|list| graph.reshape(list, [all, 1]));
            let list = either(graph, by_above, [left?, above?])?;
            graph.reshape(list, [batch, capacity])
        };
        let (joins, previous) = (chosen([near_left, near_above])?, chosen([left, above])?);
        collapse(graph, tokens, joins, previous, false, capacity)
    }

    /// 1 for each token that is near another, u32 `[batch, tokens]`.
    fn near(&self, graph: &mut Graph, tokens: &Tokens, other: Tensor) -> Result<Tensor, Error> {
        let lengths = Some(tokens.lengths);
        let distance = pair_distance(graph, tokens.x, other, self.measure, lengths)?;
        let inputs = ThresholdInputs { lengths, ..ThresholdInputs::new(distance, Limit::Constant(self.threshold)) };
        Threshold { relation: Relation::AtMost }.build(graph, inputs)
    }
}
