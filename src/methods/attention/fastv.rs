//! FastV: pruning image tokens of a language model by the last token's attention.
//!
//! Chen et al., "An Image is Worth 1/2 Tokens After Layer 2: Plug-and-Play Inference Acceleration for Large
//! Vision-Language Models" (ECCV 2024).

use crate::error::Error;
use crate::graph::{Graph, Tensor};
use crate::kernels::{AttentionInputs, AttentionScore, Order, Queries};
use crate::methods::parts::image_range::ImageRange;
use crate::methods::parts::prune::{Prune, Pruned};
use crate::token_map::Tokens;

/// Keeps the `rank` image tokens that the last token attends to most, and every other token, in order.
///
/// ```text
/// a_j = mean over heads of softmax_j(q_last . k_j / sqrt(D))     causal, over all keys
/// keep every token outside image_start..image_start + image_tokens, and the rank of highest a inside
/// ```
///
/// Position ids are the kept positions: `map.positions(graph, None, Positions::Keep)`. The text after the image may be ragged.
///
/// - Each row decides for itself. In the published code the batch's first row decides for all.
/// - The score is the last row's, as in the published code. The paper's text averages the attention received from all tokens.
///
/// Cost: one attention row of `2 H N D` operations for H heads of D channels, a selection, one copy of the kept tokens.
///
/// ```
/// use tokenpress::methods::FastV;
/// use tokenpress::{Elem, Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// let tokens = graph.tokens("x", [1, 6, 1], Elem::F32)?;
/// let [queries, keys] = ["q", "k"].map(|name| graph.input(name, [1, 1, 6, 1], Elem::F32));
/// let method = FastV { image_start: 1, image_tokens: 4, rank: 2 };
/// let kept = method.build(&mut graph, &tokens, queries, keys)?;
/// graph.output("kept", kept.pruned.selection.indices)?;
/// let x = HostTensor::f32([1, 6, 1], vec![0.0, 3.0, 1.0, 2.0, 4.0, 1.0]);
/// let heads = x.clone().reshaped([1, 1, 6, 1]);
/// let inputs = [("x", x), ("q", heads.clone()), ("k", heads)].map(|(name, value)| (name.to_owned(), value));
/// assert_eq!(graph.run_reference(&inputs.into())?["kept"].integers(), [0, 1, 4, 5]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FastV {
    /// Position of the first image token (length of the system prompt).
    pub image_start: u32,
    /// Number of image tokens.
    pub image_tokens: u32,
    /// Image tokens that stay.
    pub rank: u32,
}

/// Tokens after FastV, and the score that chose them.
#[derive(Debug, Clone, Copy)]
pub struct FastVOutput {
    /// The tokens left, in order, and where the others went.
    pub pruned: Pruned,
    /// The last token's attention to every token, `[batch, tokens]` f32.
    pub score: Tensor,
}

impl FastV {
    /// Prunes `tokens` by the queries and keys `[batch, heads, tokens, channels]` of the layer before.
    pub fn build(&self, graph: &mut Graph, tokens: &Tokens, queries: Tensor, keys: Tensor) -> Result<FastVOutput, Error> {
        let [_, capacity, _] = tokens.checked()?;
        let image = ImageRange::new(["fastv: image", "fastv: rank"], self.image_start, self.image_tokens, self.rank, capacity)?;
        let attention = AttentionScore { queries: Queries::Last, causal: true, ..Default::default() };
        let inputs = AttentionInputs { queries, keys, bias: None, lengths: Some(tokens.lengths), query_lengths: None };
        let score = attention.build(graph, inputs)?.score;
        let marks = image.others_protected(graph, capacity);
        let rank = self.rank;
        let keep = move |live: u32| image.kept(live, rank);
        let pruned = Prune { order: Order::Index }.build(graph, tokens, score, Some(marks), keep)?;
        Ok(FastVOutput { pruned, score })
    }
}
