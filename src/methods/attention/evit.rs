//! EViT: pruning by the class token's attention, or by a score, with the rest fused into one token.
//!
//! Liang et al., "Not All Patches Are What You Need: Expediting Vision Transformers via Token Reorganizations"
//! (ICLR 2022).

use crate::error::Error;
use crate::graph::{Graph, Tensor};
use crate::kernels::{AttentionInputs, AttentionScore, Order, Queries, mark};
use crate::methods::parts::fused::fused;
use crate::methods::parts::lists::{allowed, live_mask};
use crate::methods::parts::multi_head_attention::KeyMask;
use crate::methods::parts::places::{Protect, Protected};
use crate::methods::parts::prune::{Prune, Pruned};
use crate::methods::parts::transformer::TransformerBlock;
use crate::options;
use crate::pattern::Pattern;
use crate::schedule::{Rounding, keep_count};
use crate::tensor::{Desc, Elem};
use crate::token_map::{Compressed, Tokens};

/// Keeps the patches that the class token attends to most.
///
/// ```text
/// a_j = mean over heads of softmax_j(q_0 . k_j / sqrt(D))     over all keys, the class token's own among them
/// keep the protected tokens, then the max(ceil(keep * patches), floor) patches of highest a, in descending a
/// fused = sum of a_j x_j over the dropped patches             appended last; not normalised
/// ```
///
/// Patches are the tokens that are not protected; by default token 0 is, the class token. Where every patch of a row is kept, the row stays
/// as it is, without a fused token. Ties go to the lowest position.
///
/// An encoder without a class token (SigLIP, Qwen-VL) has no row to rank by. There take a score of your own, [`EVit::by_score`].
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
/// let kept = EVit { keep: 0.5, fuse: false, ..Default::default() }.build(&mut graph, &tokens, queries, keys)?;
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
    /// Share of the patches that stays, above 0 and at most 1. The paper's is 0.7.
    pub keep: f64,
    /// At least so many patches stay, of a row with fewer all of them.
    pub floor: u32,
    /// Whether the dropped patches leave one token behind.
    pub fuse: bool,
    /// Tokens that are no patches: the class token, registers.
    pub protect: Protect,
}

impl Default for EVit {
    fn default() -> Self {
        Self { keep: 0.7, floor: 0, fuse: true, protect: Protect::CLASS }
    }
}

/// Tokens after EViT, and the score that chose them.
#[derive(Debug, Clone, Copy)]
pub struct EVitOutput {
    /// `[protected.., kept.., fused]`, and where every token went: dropped ones to the fused token, if there is one.
    pub compressed: Compressed,
    /// The class token's attention to every token, or the caller's score, `[batch, tokens]` f32.
    pub score: Tensor,
    /// Positions kept (the protected ones first) and dropped.
    pub selection: crate::kernels::Selection,
}

impl EVit {
    /// Prunes `tokens`, whose token 0 is the class token, by the queries and keys `[batch, heads, tokens, channels]` of
    /// the block's attention. The class token stays only if it is protected.
    pub fn build(&self, graph: &mut Graph, tokens: &Tokens, queries: Tensor, keys: Tensor) -> Result<EVitOutput, Error> {
        tokens.checked()?;
        options::positive_share("evit: keep", self.keep)?;
        let attention = AttentionScore { queries: Queries::Row(0), ..Default::default() };
        let inputs = AttentionInputs { queries, keys, bias: None, lengths: Some(tokens.lengths), query_lengths: None };
        let score = attention.build(graph, inputs)?.score;
        self.by_score(graph, tokens, score)
    }

    /// Prunes `tokens` by a score `[batch, tokens]` f32, of which those of protected tokens do not matter. The fused token is the sum of
    /// the dropped ones times their scores.
    ///
    /// The method's authors have a class token. For encoders without one those who use such scores take the mean attention that each token
    /// receives from all, over all heads: [`Queries::All`](crate::kernels::Queries) of an
    /// [`AttentionScore`](crate::kernels::AttentionScore).
    ///
    /// ```
    /// use tokenpress::kernels::{AttentionInputs, AttentionScore, Queries};
    /// use tokenpress::methods::{EVit, Protect};
    /// use tokenpress::{Elem, Graph, HostTensor};
    ///
    /// let mut graph = Graph::new();
    /// let tokens = graph.tokens("x", [1, 4, 1], Elem::F32)?;
    /// let [queries, keys] = ["q", "k"].map(|name| graph.input(name, [1, 1, 4, 1], Elem::F32));
    /// let received = AttentionScore { queries: Queries::All, ..Default::default() };
    /// let score = received.build(&mut graph, AttentionInputs::new(queries, keys))?.score;
    /// let method = EVit { keep: 0.5, fuse: false, protect: Protect::NONE, ..Default::default() };
    /// let kept = method.by_score(&mut graph, &tokens, score)?;
    /// graph.output("kept", kept.selection.indices)?;
    /// let x = HostTensor::f32([1, 4, 1], vec![1.0, 0.0, 2.0, 1.5]);
    /// let heads = x.clone().reshaped([1, 1, 4, 1]);
    /// let inputs = [("x", x), ("q", heads.clone()), ("k", heads)].map(|(name, value)| (name.to_owned(), value));
    /// assert_eq!(graph.run_reference(&inputs.into())?["kept"].integers(), [2, 3]);
    /// # Ok::<(), tokenpress::Error>(())
    /// ```
    pub fn by_score(&self, graph: &mut Graph, tokens: &Tokens, score: Tensor) -> Result<EVitOutput, Error> {
        tokens.checked()?;
        tokens.expect_score("evit: score", score)?;
        options::positive_share("evit: keep", self.keep)?;
        let protected = Protected::of(graph, tokens, self.protect)?;
        let patches = |others: u32| keep_count(others, self.keep, Rounding::Ceil).max(self.floor).min(others);
        let whole = |others: u32| patches(others) == others;
        let marks = marks(graph, tokens, protected, whole)?;
        let counts = protected.kept(graph, tokens, patches)?;
        let selection = Prune { order: Order::Value }.decide_counted(graph, tokens, score, Some(marks), counts)?;
        let Pruned { compressed, selection } = Pruned::of(graph, tokens, selection)?;
        let (_, most) = protected.of_others(graph, tokens, |others| u32::from(!whole(others)))?;
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

/// Marks of the protected tokens; in a row that stays whole every token is one, which keeps the order.
fn marks(graph: &mut Graph, tokens: &Tokens, protected: Protected, whole: impl Fn(u32) -> bool) -> Result<Tensor, Error> {
    let capacity = tokens.capacity();
    let leading = if let Protected::Leading(count) = protected { count } else { 0 };
    let (ends, _) = protected.of_others(graph, tokens, |others| if whole(others) { capacity } else { leading })?;
    if !matches!(protected, Protected::Leading(_)) {
        let marks = protected.marks(graph, tokens);
        // A mask's 1 and 0 are these marks.
        let all = live_mask(graph, ends, capacity)?;
        return allowed(graph, [tokens.batch(), capacity], None, Some(all), marks);
    }
    match graph.known(ends).and_then(|ends| ends.one_number()) {
        Some(end) => Ok(graph.pattern(Desc::new([capacity], Elem::U32), Pattern::split(end, mark::PROTECTED, mark::CANDIDATE))),
        None => live_mask(graph, ends, capacity),
    }
}
