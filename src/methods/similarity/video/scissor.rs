//! LLaVA-Scissor: tokens that are linked by likeness become one, in each frame and then over the video.
//!
//! Sun et al., "LLaVA-Scissor: Token Compression with Semantic Connected Components for Video LLMs" (2025).

use crate::error::Error;
use crate::graph::{Graph, Tensor};
use crate::kernels::{
    BipartiteMatch, Limit, NearPairs, Order, Partition, Reduce, Relation, Threshold, ThresholdInputs, TopK, TopKInputs, compact,
    components, concat_rows, convert, gather_rows, invert_index, keep_live, mark, previous_equal, row_normalize,
};
use crate::methods::parts::keep::{keep_marked, with_room};
use crate::methods::parts::lists::{choose, either, live_mask, marks_of, product};
use crate::methods::similarity::video::frames::Frames;
use crate::options;
use crate::tensor::Elem;
use crate::token_map::{Compressed, TokenMap, Tokens};

/// Makes one token of every set of tokens that are linked by likeness.
///
/// ```text
/// of each frame: i and j are linked iff cos(x_i, x_j) > threshold; each connected component becomes its mean
/// of these means, in order of frames: the same again
/// every original token joins the most similar of the components c that are left        c' = (c + sum of those) / (1 + their number)
/// ```
///
/// The components of a frame, and those of the video, stand in the order of their token with the most links, the first of equals. That one
/// represents them. The published code links a random sample of the tokens where there are more than about 3200; here all are linked. It
/// leaves out of a mean what its union-find has not yet pointed to the root; here all members count.
///
/// Tokens with a NaN or an infinity are linked to none, and stay alone. Of equal similarities the first component is joined. A component that
/// no token joins has a size of 0. How many are left is on the GPU.
///
/// Cost: `2 N n C` operations for the links in frames of n of N tokens, `2 M^2 C` for those of the M means, `2 N K C` to join the K components
/// that are left, two walks of one workgroup a frame and a row, about fifty small dispatches, five copies of the tokens or of the means.
/// Workspace: `N n / 8` and `M^2 / 8` bytes of links, beside the copies.
///
/// ```
/// use tokenpress::methods::LlavaScissor;
/// use tokenpress::{Elem, Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// let tokens = graph.tokens("x", [1, 6, 2], Elem::F32)?;
/// let merged = LlavaScissor { tokens_per_frame: 3, ..Default::default() }.build(&mut graph, &tokens)?;
/// graph.output("parent", merged.map.parent)?;
/// graph.output("lengths", merged.tokens.lengths)?;
/// let x = HostTensor::f32([1, 6, 2], vec![1.0, 0.0, 0.0, 1.0, 1.0, 0.1, 0.0, 1.0, 1.0, 0.0, -1.0, 0.0]);
/// let out = graph.run_reference(&[("x".to_owned(), x)].into())?;
/// assert_eq!(out["parent"].integers(), [0, 1, 0, 1, 0, 2]);
/// assert_eq!(out["lengths"].integers(), [3]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[doc(alias("connected_components", "semantic_components"))]
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LlavaScissor {
    /// Tokens of a frame.
    pub tokens_per_frame: u32,
    /// The cosine above which tokens are linked.
    pub threshold: f32,
}

/// The published threshold, for frames of one token.
impl Default for LlavaScissor {
    fn default() -> Self {
        Self { tokens_per_frame: 1, threshold: 0.95 }
    }
}

impl LlavaScissor {
    /// Merges `tokens`, frame after frame.
    pub fn build(&self, graph: &mut Graph, tokens: &Tokens) -> Result<Compressed, Error> {
        let frames = Frames::of(tokens, self.tokens_per_frame, "llava_scissor: tokens_per_frame")?;
        options::threshold("llava_scissor: threshold", self.threshold)?;
        let [batch, capacity, channels] = tokens.checked()?;
        let whole = product("llava_scissor: x", tokens.x.shape(), frames.count, frames.size)?;
        let rows = product("llava_scissor: x", tokens.x.shape(), batch, frames.count)?;

        // Every frame as a row of its own.
        let x = frames.resized(graph, tokens.x, whole)?;
        let x = graph.reshape(x, [rows, frames.size, channels])?;
        let live = frames.lengths(graph, tokens)?;
        let live = graph.reshape(live, [rows])?;
        let frame = Tokens::ragged(graph, x, live)?;
        let of_frames = merged_components(graph, &frame, self.threshold)?;
        // One after the other, and then without the places that they leave.
        let x = graph.reshape(of_frames.tokens.x, [batch, whole, channels])?;
        let places = Tokens::new(graph, x)?;
        let taken = live_mask(graph, of_frames.tokens.lengths, frames.size)?;
        let taken = graph.reshape(taken, [batch, whole])?;
        let means = keep_marked(graph, &places, taken, whole)?;
        let of_video = merged_components(graph, &means.tokens, self.threshold)?;

        // The positions of those that represent them, and where every token is so far.
        let own = graph.counted([batch, whole], 0, 1);
        let own = graph.reshape(own, [rows, frames.size])?;
        let of_place = |graph: &mut Graph, index: Tensor| {
            let found = gather_rows(graph, own, index, None)?;
            graph.reshape(found, [batch, whole])
        };
        let position_of_place = of_place(graph, of_frames.map.representative)?;
        let place_of_token = of_place(graph, of_frames.map.parent)?;
        let means_and_video = means.map.then(graph, &of_video.map)?;
        let representative = gather_rows(graph, position_of_place, means_and_video.representative, None)?;
        let so_far = gather_rows(graph, means_and_video.parent, place_of_token, None)?;
        let so_far = frames.resized(graph, so_far, capacity)?;
        let map = TokenMap { parent: so_far, representative, lengths: of_video.map.lengths };
        let left = with_room(graph, Compressed { tokens: of_video.tokens, map }, capacity)?;
        joined(graph, tokens, &left)
    }
}

/// Every component of alike tokens as its mean.
fn merged_components(graph: &mut Graph, tokens: &Tokens, threshold: f32) -> Result<Compressed, Error> {
    let (capacity, lengths) = (tokens.capacity(), Some(tokens.lengths));
    let normalized = row_normalize(graph, tokens.x, lengths)?;
    let near = NearPairs { threshold, or_equal: false }.build(graph, normalized, lengths)?;
    let label = components(graph, near.pairs, lengths)?;
    // By descending number of links the first of each component.
    let degree = convert(graph, near.degree, Elem::F32)?;
    let sort = TopK { k: capacity, order: Order::Value, ..Default::default() };
    let order = sort.build(graph, TopKInputs { lengths, ..TopKInputs::new(degree) })?.indices;
    let sorted = gather_rows(graph, label, order, None)?;
    let before = previous_equal(graph, sorted, lengths)?;
    let is_first = choose(graph, before, capacity, [0, 1])?;
    let firsts = compact(graph, is_first, lengths)?.indices;
    let firsts = gather_rows(graph, order, firsts, None)?;
    let stands = marks_of(graph, firsts, capacity, mark::PROTECTED)?;
    let stands = compact(graph, stands, lengths)?;
    // Each component's label leads to its place.
    let labels = gather_rows(graph, label, stands.indices, None)?;
    let place = invert_index(graph, labels, capacity)?;
    let parent = gather_rows(graph, place, label, None)?;
    let map = TokenMap { parent, representative: stands.indices, lengths: stands.counts };
    map.compress(graph, tokens, None, Reduce::Mean)
}

/// Every token joins the most similar row of `left`, and those that are not finite the row that they are in so far. A row is the mean of
/// itself and of those that join it.
fn joined(graph: &mut Graph, tokens: &Tokens, left: &Compressed) -> Result<Compressed, Error> {
    let [batch, capacity, _] = tokens.checked()?;
    let all = product("llava_scissor: x", tokens.x.shape(), batch, capacity)?;
    // Tokens and then rows.
    let (both, _) = concat_rows(graph, (tokens.x, None), (left.tokens.x, None))?;
    let normalized = row_normalize(graph, both, None)?;
    let rows = left.tokens.capacity();
    let first = |graph: &mut Graph, entries: u32, first: u32, lengths: Tensor| {
        let list = graph.counted([batch, entries], first, 1);
        keep_live(graph, list, lengths)
    };
    let sources = first(graph, capacity, 0, tokens.lengths)?;
    let destinations = first(graph, rows, capacity, left.tokens.lengths)?;
    let matches = BipartiteMatch::default().build(graph, normalized, Partition { sources, destinations }, None)?;
    let sound = Threshold { relation: Relation::AtLeast };
    let sound = sound.build(graph, ThresholdInputs::new(matches.similarity, Limit::Constant(-2.0)))?;
    let sound = graph.reshape(sound, [all, 1])?;
    let [so_far, partner] = [left.map.parent, matches.partner].map(|list| graph.reshape(list, [all, 1]));
    let parent = either(graph, sound, [so_far?, partner?])?;
    let parent = graph.reshape(parent, [batch, capacity])?;

    let own = first(graph, rows, 0, left.tokens.lengths)?;
    let (of_both, _) = concat_rows(graph, (parent, None), (own, None))?;
    let x = TokenMap { parent: of_both, ..left.map }.merge(graph, both, None, Reduce::Mean)?;
    let map = TokenMap { parent, ..left.map };
    let size = map.sizes(graph, tokens.size)?;
    Ok(Compressed { tokens: Tokens { x, size, lengths: left.tokens.lengths }, map })
}
