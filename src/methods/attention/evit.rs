//! EViT: pruning by the class token's attention, with the rest fused into one token.
//!
//! Liang et al., "Not All Patches Are What You Need: Expediting Vision Transformers via Token Reorganizations"
//! (ICLR 2022).

use crate::error::Error;
use crate::graph::{Graph, Tensor};
use crate::kernels::{AttentionInputs, AttentionScore, Order, Queries, mark};
use crate::methods::parts::fused::fused;
use crate::methods::parts::lists::live_mask;
use crate::methods::parts::multi_head_attention::KeyMask;
use crate::methods::parts::prune::{Prune, Pruned};
use crate::methods::parts::transformer::TransformerBlock;
use crate::options;
use crate::pattern::Pattern;
use crate::schedule::{Rounding, keep_count};
use crate::tensor::{Desc, Elem};
use crate::token_map::{Compressed, Tokens, count_by_length};

/// Keeps the patches that the class token attends to most.
///
/// ```text
/// a_j = mean over heads of softmax_j(q_0 . k_j / sqrt(D))     over all keys, the class token's own among them
/// keep the class token, then the ceil(keep * patches) patches of highest a, in descending a
/// fused = sum of a_j x_j over the dropped patches             appended last; not normalised
/// ```
///
/// Where every patch of a row is kept, the row stays as it is, without a fused token.
///
/// Cost: one attention row of `2 H N D` operations for H heads of D channels, a selection, one copy of the kept tokens. With
/// `fuse` one more read of the dropped tokens, and a copy to put the fused one after the others.
///
/// ```
/// use tokenpress::methods::EVit;
/// use tokenpress::{Elem, Graph, HostTensor, NONE};
///
/// let mut graph = Graph::new();
/// let tokens = graph.tokens("x", [1, 4, 1], Elem::F32)?;
/// let [queries, keys] = ["q", "k"].map(|name| graph.input(name, [1, 1, 4, 1], Elem::F32));
/// let kept = EVit { keep: 0.5, fuse: false }.build(&mut graph, &tokens, queries, keys)?;
/// graph.output("parent", kept.compressed.map.parent)?;
/// let x = HostTensor::f32([1, 4, 1], vec![1.0, 0.0, 2.0, 1.5]);
/// let heads = x.clone().reshaped([1, 1, 4, 1]);
/// let inputs = [("x", x), ("q", heads.clone()), ("k", heads)].map(|(name, value)| (name.to_owned(), value));
/// assert_eq!(graph.run_reference(&inputs.into())?["parent"].integers(), [0, NONE, 1, 2]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[doc(alias = "token_reorganization")]
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EVit {
    /// Share of the patches (the class token aside) that stays, above 0 and at most 1. The paper's is 0.7.
    pub keep: f64,
    /// Whether the dropped patches leave one token behind.
    pub fuse: bool,
}

impl Default for EVit {
    fn default() -> Self {
        Self { keep: 0.7, fuse: true }
    }
}

/// Tokens after EViT, and the score that chose them.
#[derive(Debug, Clone, Copy)]
pub struct EVitOutput {
    /// `[class, kept.., fused]`, and where every token went: dropped ones to the fused token, if there is one.
    pub compressed: Compressed,
    /// The class token's attention to every token, `[batch, tokens]` f32.
    pub score: Tensor,
    /// Positions kept (the class token first) and dropped.
    pub selection: crate::kernels::Selection,
}

impl EVit {
    /// Prunes `tokens`, whose token 0 is the class token, by the queries and keys `[batch, heads, tokens, channels]` of
    /// the block's attention.
    pub fn build(&self, graph: &mut Graph, tokens: &Tokens, queries: Tensor, keys: Tensor) -> Result<EVitOutput, Error> {
        tokens.checked()?;
        options::positive_share("evit: keep", self.keep)?;
        let attention = AttentionScore { queries: Queries::Row(0), ..Default::default() };
        let inputs = AttentionInputs { queries, keys, bias: None, lengths: Some(tokens.lengths), query_lengths: None };
        let score = attention.build(graph, inputs)?.score;
        let ratio = self.keep;
        let patches = |live: u32| keep_count(live.saturating_sub(1), ratio, Rounding::Ceil);
        let whole = |live: u32| patches(live) == live.saturating_sub(1);
        let marks = marks(graph, tokens, whole)?;
        let prune = Prune { order: Order::Value };
        let keep = |live: u32| live.min(1) + patches(live);
        let Pruned { compressed, selection } = prune.build(graph, tokens, score, Some(marks), keep)?;
        let (_, most) = count_by_length(graph, tokens.lengths, tokens.capacity(), |live| u32::from(!whole(live)))?;
        let compressed = match selection.complement {
            Some(dropped) if self.fuse && most > 0 => {
                let rest = fused(graph, tokens, dropped, score)?;
                compressed.append(graph, &rest)?
            }
            _ => compressed,
        };
        Ok(EVitOutput { compressed, score, selection })
    }

    /// A whole block: attention over all tokens, the pruning by its class token's row, and the feed-forward layers of what is left.
    pub fn block(&self, graph: &mut Graph, tokens: &Tokens, block: &TransformerBlock) -> Result<EVitOutput, Error> {
        tokens.checked()?;
        let projected = block.project(graph, tokens.x)?;
        let x = block.attend(graph, tokens.x, projected, KeyMask { lengths: Some(tokens.lengths), ..KeyMask::default() })?;
        let queries = block.attention.heads_first(graph, projected.queries)?;
        let keys = block.attention.heads_first(graph, projected.keys)?;
        let mut output = self.build(graph, &Tokens { x, ..*tokens }, queries, keys)?;
        output.compressed.tokens.x = block.feed_forward(graph, output.compressed.tokens.x)?;
        Ok(output)
    }
}

/// The class token is protected; in a row that stays whole every token is, which keeps the order.
fn marks(graph: &mut Graph, tokens: &Tokens, whole: impl Fn(u32) -> bool) -> Result<Tensor, Error> {
    let capacity = tokens.capacity();
    let (ends, _) = count_by_length(graph, tokens.lengths, capacity, |live| if whole(live) { capacity } else { capacity.min(1) })?;
    match graph.known(ends).and_then(|ends| ends.one_number()) {
        Some(end) => Ok(graph.pattern(Desc::new([capacity], Elem::U32), Pattern::split(end, mark::PROTECTED, mark::CANDIDATE))),
        // A mask's 1 and 0 are these marks.
        None => live_mask(graph, ends, capacity),
    }
}
