//! FrameFusion: chains of similar tokens at one place of successive frames become one.
//!
//! Fu et al., "FrameFusion: Combining Similarity and Importance for Video Token Reduction on Large Vision Language Models" (ICCV 2025).

use crate::error::Error;
use crate::graph::{Graph, Tensor};
use crate::kernels::{
    Limit, Reduce, Relation, Threshold, ThresholdInputs, TopK, TopKInputs, compact, mark, pair_similarity, previous_equal, row_normalize,
};
use crate::methods::parts::keep::keep_marked;
use crate::methods::parts::lists::{choose, select_mask};
use crate::methods::parts::runs::collapse;
use crate::options;
use crate::schedule::{Rounding, keep_count};
use crate::token_map::{Compressed, TokenMap, Tokens, count_by_length};

/// Merges each token into the one at the same place of the frame before, where they are similar; later prunes by attention.
///
/// ```text
/// s_i = cos(x_i, x_p(i))     p(i): the last token before i at the same place of its frame
/// merge: the tokens with s_i >= similarity, of these at most int(most n) with the largest s; n video tokens are left so far
/// every chain of such tokens becomes one, at its first token's position: their mean
/// prune: of the n video tokens left max(round(keep n), floor) by attention; all other tokens stay
/// ```
///
/// `places` says for each token its place in its frame, and [`NONE`](crate::NONE) for tokens that are not the video's. It goes with
/// the tokens: [`TokenMap::gather`] makes it that of the next merge.
///
/// The published method merges at the first layers, until less than a tenth of the tokens merge. At the next layer it prunes, by the
/// attention that each token receives from all. Its budget of computation decides `most` and `keep` ([`FrameFusion::budget`]). Here the
/// caller says at which layers, since counts stay on the GPU.
///
/// As published the mean is of the rows, whatever they stand for; sizes add up. Of equal similarities the first merge first. Zero rows
/// are similar to nothing. Rows with a NaN or an infinity do not merge.
///
/// Cost: a merge reads the tokens twice for the similarities and once to merge; its other dispatches are of integers.
///
/// ```
/// use tokenpress::methods::FrameFusion;
/// use tokenpress::{Elem, Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// let tokens = graph.tokens("x", [1, 5, 2], Elem::F32)?;
/// let places = graph.constant(HostTensor::u32([1, 5], vec![tokenpress::NONE, 0, 1, 0, 1]));
/// let merged = FrameFusion { tokens_per_frame: 2, ..Default::default() }.merge(&mut graph, &tokens, places)?;
/// graph.output("x'", merged.tokens.x)?;
/// let x = HostTensor::f32([1, 5, 2], vec![9.0, 9.0, 1.0, 0.0, 0.0, 1.0, 3.0, 0.0, 1.0, 0.0]);
/// let out = graph.run_reference(&[("x".to_owned(), x)].into())?;
/// assert_eq!(out["x'"].floats(), [9.0, 9.0, 2.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FrameFusion {
    /// Places of a frame, 1 to 2^20.
    pub tokens_per_frame: u32,
    /// Least similarity of tokens that merge.
    pub similarity: f32,
    /// Share of the video tokens that may merge away, 0 to 1.
    pub most: f64,
    /// At least so many of the video's tokens stay when it is pruned, of a row with fewer all of them.
    pub floor: u32,
}

/// As many as a frame of 1024 x 1024 tokens has.
const MOST_PLACES: u32 = 1 << 20;

/// The published similarity, and no limit.
impl Default for FrameFusion {
    fn default() -> Self {
        Self { tokens_per_frame: 1, similarity: 0.6, most: 1.0, floor: 0 }
    }
}

impl FrameFusion {
    /// The share of the tokens to remove next, so that a model of `layers` layers costs the share `cost` of the whole model. `removed` are
    /// the shares that the layers so far have removed, each of the tokens that were left.
    pub fn budget(cost: f64, layers: u32, removed: &[f64]) -> f64 {
        let left = |share: &mut f64, removed: &f64| {
            *share *= 1.0 - removed;
            Some(*share)
        };
        let shares: Vec<f64> = removed.iter().scan(1.0, left).collect();
        let rest = f64::from(layers) * cost - shares.iter().sum::<f64>();
        let full = (f64::from(layers) - removed.len() as f64) * shares.last().unwrap_or(&1.0);
        (1.0 - rest / full).clamp(0.0, 1.0)
    }

    /// Where every token goes; `places` is u32 `[batch, tokens]`.
    pub fn decide(&self, graph: &mut Graph, tokens: &Tokens, places: Tensor) -> Result<TokenMap, Error> {
        tokens.checked()?;
        let (capacity, lengths) = (tokens.capacity(), Some(tokens.lengths));
        self.check()?;
        options::share("framefusion: most", self.most)?;
        options::threshold("framefusion: similarity", self.similarity)?;
        let normalized = row_normalize(graph, tokens.x, lengths)?;
        let previous = previous_equal(graph, places, lengths)?;
        let similarity = pair_similarity(graph, normalized, previous, lengths)?;
        let threshold = ThresholdInputs { lengths, ..ThresholdInputs::new(similarity, Limit::Constant(self.similarity)) };
        let similar = Threshold { relation: Relation::AtLeast }.build(graph, threshold)?;
        let joins = if self.most < 1.0 {
            let counts = self.count_video(graph, tokens, places, |n| keep_count(n, self.most, Rounding::Floor))?;
            let marks = choose(graph, similar, 1, [mark::EXCLUDED, mark::CANDIDATE])?;
            select(graph, similarity, tokens, counts, marks)?
        } else {
            similar
        };
        collapse(graph, tokens, joins, previous, false, capacity)
    }

    /// Merges similar tokens.
    pub fn merge(&self, graph: &mut Graph, tokens: &Tokens, places: Tensor) -> Result<Compressed, Error> {
        tokens.checked()?;
        let map = self.decide(graph, tokens, places)?;
        map.compress(graph, tokens, None, Reduce::Mean)
    }

    /// Keeps the share `keep` of the video's tokens, those of the highest `attention` `[batch, tokens]` f32: what each receives, a mean
    /// over heads and queries.
    pub fn prune(&self, graph: &mut Graph, tokens: &Tokens, places: Tensor, attention: Tensor, keep: f64) -> Result<Compressed, Error> {
        tokens.checked()?;
        self.check()?;
        options::share("framefusion: keep", keep)?;
        let counts = self.count_video(graph, tokens, places, |n| keep_count(n, keep, Rounding::NearestEven).max(self.floor))?;
        let marks = self.by_place(graph, places, mark::CANDIDATE, mark::EXCLUDED)?;
        let best = select(graph, attention, tokens, counts, marks)?;
        // And everything that is not the video's.
        let marks = self.by_place(graph, places, mark::CANDIDATE, mark::PROTECTED)?;
        let any = ThresholdInputs::new(tokens.size, Limit::Constant(f32::NEG_INFINITY));
        let inputs = ThresholdInputs { lengths: Some(tokens.lengths), marks: Some(marks), among: Some(best), ..any };
        let mask = Threshold { relation: Relation::AtLeast }.build(graph, inputs)?;
        keep_marked(graph, tokens, mask, tokens.capacity())
    }

    fn check(&self) -> Result<(), Error> {
        options::within("framefusion: tokens_per_frame", 1..=MOST_PLACES, self.tokens_per_frame)
    }

    /// `video` for the video's tokens and `other` for all others, u32 `[batch, tokens]`.
    fn by_place(&self, graph: &mut Graph, places: Tensor, video: u32, other: u32) -> Result<Tensor, Error> {
        choose(graph, places, self.tokens_per_frame, [video, other])
    }

    /// `count` of each row's live video tokens, u32 `[batch]`.
    fn count_video(&self, graph: &mut Graph, tokens: &Tokens, places: Tensor, count: impl Fn(u32) -> u32) -> Result<Tensor, Error> {
        let video = self.by_place(graph, places, 1, 0)?;
        let video = compact(graph, video, Some(tokens.lengths))?.counts;
        Ok(count_by_length(graph, video, tokens.capacity(), count)?.0)
    }
}

/// 1 for the `counts[b]` candidates of the highest score, u32 `[batch, tokens]`.
fn select(graph: &mut Graph, scores: Tensor, tokens: &Tokens, counts: Tensor, marks: Tensor) -> Result<Tensor, Error> {
    let inputs = TopKInputs { scores, lengths: Some(tokens.lengths), counts: Some(counts), marks: Some(marks) };
    select_mask(graph, TopK { k: tokens.capacity(), ..Default::default() }, inputs)
}
