//! FastV: pruning image tokens of a language model by the last token's attention.
//!
//! Chen et al., "An Image is Worth 1/2 Tokens After Layer 2: Plug-and-Play Inference Acceleration for Large
//! Vision-Language Models" (ECCV 2024).

use crate::error::Error;
use crate::graph::{Graph, Tensor};
use crate::kernels::{AttentionInputs, AttentionScore, Order, Queries};
use crate::methods::parts::places::{Images, Protected};
use crate::methods::parts::prune::{Prune, Pruned};
use crate::token_map::Tokens;

/// Keeps the `rank` image tokens that the last token attends to most, and every other token, in order.
///
/// ```text
/// a_j = mean over heads of softmax_j(q_last . k_j / sqrt(D))     causal, over all keys
/// keep every token that is not an image's, and the `rank` image tokens of highest a
/// ```
///
/// Position ids are the kept positions: `map.positions(graph, None, Positions::Keep)`. The text after the image may be ragged. Images may
/// be anywhere ([`Images`]), and each row keeps `rank` tokens of all its images together; one with fewer keeps them all. Ties go to the
/// lowest position.
///
/// - Each row decides for itself. In the published code the batch's first row decides for all.
/// - The score is the last row's, as in the published code. The paper's text averages the attention received from all tokens.
///
/// Cost: one attention row of `2 H N D` operations for H heads of D channels, a selection, one copy of the kept tokens.
///
/// ```
/// use tokenpress::methods::{FastV, Images};
/// use tokenpress::{Elem, Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// let tokens = graph.tokens("x", [1, 6, 1], Elem::F32)?;
/// let [queries, keys] = ["q", "k"].map(|name| graph.input(name, [1, 1, 6, 1], Elem::F32));
/// let method = FastV { images: Images::Range { start: 1, tokens: 4 }, rank: 2, bias: None };
/// let kept = method.build(&mut graph, &tokens, queries, keys)?;
/// graph.output("kept", kept.pruned.selection.indices)?;
/// let x = HostTensor::f32([1, 6, 1], vec![0.0, 3.0, 1.0, 2.0, 4.0, 1.0]);
/// let heads = x.clone().reshaped([1, 1, 6, 1]);
/// let inputs = [("x", x), ("q", heads.clone()), ("k", heads)].map(|(name, value)| (name.to_owned(), value));
/// assert_eq!(graph.run_reference(&inputs.into())?["kept"].integers(), [0, 1, 4, 5]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct FastV {
    /// Where image tokens are.
    pub images: Images,
    /// Image tokens that stay.
    pub rank: u32,
    /// f32 `[batch, tokens]`, added to the logits: negative infinity hides padding in front of a row. Padding stays where it is, as every
    /// token does that is not an image's; give it no mark.
    pub bias: Option<Tensor>,
}

/// Tokens after FastV, and the score that chose them.
#[derive(Debug, Clone, Copy)]
pub struct FastVOutput {
    /// The tokens left, in order, and where the others went.
    pub pruned: Pruned,
    /// The last token's attention to every token, `[batch, tokens]` f32.
    pub score: Tensor,
    /// Where image tokens are among those that are left.
    pub images: Images,
}

impl FastV {
    /// Prunes `tokens` by the queries and keys `[batch, heads, tokens, channels]` of the layer before.
    pub fn build(&self, graph: &mut Graph, tokens: &Tokens, queries: Tensor, keys: Tensor) -> Result<FastVOutput, Error> {
        let others = self.others(graph, tokens)?;
        let rank = self.rank;
        let counts = others.kept(graph, tokens, |images| images.min(rank))?;
        self.keep(graph, tokens, queries, keys, (others, counts))
    }

    /// All tokens but those of the images.
    pub(crate) fn others(&self, graph: &mut Graph, tokens: &Tokens) -> Result<Protected, Error> {
        Protected::all_but(graph, tokens, self.images, ["fastv: image", "fastv: rank"], self.rank)
    }

    /// Keeps so many tokens, the others among them.
    pub(crate) fn keep(
        &self,
        graph: &mut Graph,
        tokens: &Tokens,
        queries: Tensor,
        keys: Tensor,
        (others, counts): (Protected, (Tensor, u32)),
    ) -> Result<FastVOutput, Error> {
        let attention = AttentionScore { queries: Queries::Last, causal: true, ..Default::default() };
        let inputs = AttentionInputs { queries, keys, bias: self.bias, lengths: Some(tokens.lengths), query_lengths: None };
        let score = attention.build(graph, inputs)?.score;
        let pruned = Prune { order: Order::Index }.beside_counted(graph, tokens, score, others, counts)?;
        let images = self.images.after(graph, tokens, &pruned.compressed.map, self.rank)?;
        Ok(FastVOutput { pruned, score, images })
    }
}
