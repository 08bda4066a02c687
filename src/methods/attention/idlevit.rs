//! IdleViT: unselected tokens idle through a layer instead of being dropped.
//!
//! Xu et al., "No Token Left Behind: Efficient Vision Transformer via Dynamic Token Idling" (2023).

use crate::error::Error;
use crate::graph::{Graph, Tensor};
use crate::kernels::{Activation, AttentionInputs, AttentionScore, Norm, Order, Queries, gather_rows};
use crate::methods::parts::multi_head_attention::{KeyMask, Projected};
use crate::methods::parts::places::{Protect, Protected};
use crate::methods::parts::prune::{Prune, Pruned};
use crate::methods::parts::transformer::TransformerBlock;
use crate::tensor::HostTensor;
use crate::token_map::Tokens;

/// Selects the protected tokens and the `keep` patches of highest raw logit; the others skip the layer.
///
/// ```text
/// s_j = mean over heads of q_0 . k_j                 raw: no 1/sqrt(D), no softmax
/// selected = [protected, the keep patches of highest s in descending s]
/// ```
///
/// Patches are the tokens that are not protected; by default token 0 is, the class token. Where there is no class token, take a score of
/// your own, [`IdleVit::by_score`]. Ties go to the lowest position.
///
/// The block runs on the selected rows; [`IdleVitOutput::scatter`] puts them back in place, and every other row
/// stays bit for bit.
///
/// Cost: one row of logits, `2 H N D` operations for H heads of D channels, a selection, one copy of the selected tokens.
/// [`scatter`](IdleVitOutput::scatter) is one more copy of all tokens.
///
/// ```
/// use tokenpress::methods::IdleVit;
/// use tokenpress::{Elem, Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// let tokens = graph.tokens("x", [1, 4, 1], Elem::F32)?;
/// let [queries, keys] = ["q", "k"].map(|name| graph.input(name, [1, 1, 4, 1], Elem::F32));
/// let selected = IdleVit { keep: 1, ..Default::default() }.build(&mut graph, &tokens, queries, keys)?;
/// let twice = tokenpress::kernels::scale(&mut graph, selected.pruned.compressed.tokens.x, 2.0)?;
/// let back = selected.scatter(&mut graph, twice, tokens.x)?;
/// graph.output("x'", back)?;
/// let x = HostTensor::f32([1, 4, 1], vec![1.0, 0.0, 3.0, 1.0]);
/// let heads = x.clone().reshaped([1, 1, 4, 1]);
/// let inputs = [("x", x), ("q", heads.clone()), ("k", heads)].map(|(name, value)| (name.to_owned(), value));
/// assert_eq!(graph.run_reference(&inputs.into())?["x'"].floats(), [2.0, 0.0, 6.0, 1.0]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[doc(alias = "token_idling")]
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct IdleVit {
    /// Patches that take part: `keep_count(patches, ratio, Rounding::Floor)` in the paper, of the first layer's number.
    pub keep: u32,
    /// Tokens that are no patches, and take part: the class token, registers.
    pub protect: Protect,
}

/// No patch takes part; token 0 is a class token.
impl Default for IdleVit {
    fn default() -> Self {
        Self { keep: 0, protect: Protect::CLASS }
    }
}

/// The selected rows, and how they return.
#[derive(Debug, Clone, Copy)]
pub struct IdleVitOutput {
    /// The selected rows, the protected ones first, and their positions.
    pub pruned: Pruned,
    /// Raw-logit score of every token, or the caller's, `[batch, tokens]` f32.
    pub score: Tensor,
}

impl IdleVit {
    /// Selects from `tokens`, whose token 0 is the class token, by keys `[batch, heads, tokens, channels]` and queries `[batch,
    /// heads, rows, channels]`. Only row 0 of the queries is read.
    pub fn build(&self, graph: &mut Graph, tokens: &Tokens, queries: Tensor, keys: Tensor) -> Result<IdleVitOutput, Error> {
        tokens.checked()?;
        let attention = AttentionScore { queries: Queries::Row(0), norm: Norm::Logits, ..Default::default() };
        let inputs = AttentionInputs { queries, keys, bias: None, lengths: Some(tokens.lengths), query_lengths: None };
        let score = attention.build(graph, inputs)?.score;
        self.by_score(graph, tokens, score)
    }

    /// Selects from `tokens` by a score `[batch, tokens]` f32, of which those of protected tokens do not matter. The method's authors have a
    /// class token. Without one take the mean logit, or attention, that each token receives from all.
    ///
    /// ```
    /// use tokenpress::kernels::{AttentionInputs, AttentionScore, Norm, Queries};
    /// use tokenpress::methods::{IdleVit, Protect};
    /// use tokenpress::{Elem, Graph, HostTensor};
    ///
    /// let mut graph = Graph::new();
    /// let tokens = graph.tokens("x", [1, 4, 1], Elem::F32)?;
    /// let [queries, keys] = ["q", "k"].map(|name| graph.input(name, [1, 1, 4, 1], Elem::F32));
    /// let received = AttentionScore { queries: Queries::All, norm: Norm::Logits, ..Default::default() };
    /// let score = received.build(&mut graph, AttentionInputs::new(queries, keys))?.score;
    /// let selected = IdleVit { keep: 2, protect: Protect::NONE }.by_score(&mut graph, &tokens, score)?;
    /// graph.output("selected", selected.pruned.selection.indices)?;
    /// let x = HostTensor::f32([1, 4, 1], vec![1.0, 0.0, 3.0, 2.0]);
    /// let heads = x.clone().reshaped([1, 1, 4, 1]);
    /// let inputs = [("x", x), ("q", heads.clone()), ("k", heads)].map(|(name, value)| (name.to_owned(), value));
    /// assert_eq!(graph.run_reference(&inputs.into())?["selected"].integers(), [2, 3]);
    /// # Ok::<(), tokenpress::Error>(())
    /// ```
    pub fn by_score(&self, graph: &mut Graph, tokens: &Tokens, score: Tensor) -> Result<IdleVitOutput, Error> {
        tokens.checked()?;
        tokens.expect_score("idlevit: score", score)?;
        let protected = Protected::of(graph, tokens, self.protect)?;
        let patches = self.keep;
        let pruned = Prune { order: Order::Value }.beside(graph, tokens, score, protected, |others| others.min(patches))?;
        Ok(IdleVitOutput { pruned, score })
    }

    /// A whole block: what is selected goes through it, among itself, and the rest idles. Keys are made of every token; queries and
    /// values of the selected ones only. Gives all tokens' rows, and what was selected.
    pub fn block(&self, graph: &mut Graph, tokens: &Tokens, block: &TransformerBlock) -> Result<(Tensor, IdleVitOutput), Error> {
        tokens.checked()?;
        let (attention, projections) = (&block.attention, &block.attention.projections);
        let normal = block.normalize(graph, tokens.x)?;
        let class = graph.constant(HostTensor::u32([1], vec![0]));
        let class = gather_rows(graph, normal, class, None)?;
        let query = projections.queries.linear(graph, class, Activation::None)?;
        let keys = projections.keys.linear(graph, normal, Activation::None)?;
        let (first_query, first_keys) = (attention.heads_first(graph, query)?, attention.heads_first(graph, keys)?);
        let output = self.build(graph, tokens, first_query, first_keys)?;
        let (map, selected) = (output.pruned.compressed.map, output.pruned.compressed.tokens);
        let rows = map.gather(graph, normal)?;
        let projected = Projected {
            queries: projections.queries.linear(graph, rows, Activation::None)?,
            keys: map.gather(graph, keys)?,
            values: projections.values.linear(graph, rows, Activation::None)?,
        };
        let mask = KeyMask { lengths: Some(selected.lengths), ..KeyMask::default() };
        let x = block.attend(graph, selected.x, projected, mask)?;
        let updated = block.feed_forward(graph, x)?;
        Ok((output.scatter(graph, updated, tokens.x)?, output))
    }
}

impl IdleVitOutput {
    /// The layer's result: `updated` `[batch, selected, channels]` at the selected positions, `x`'s own rows elsewhere.
    pub fn scatter(&self, graph: &mut Graph, updated: Tensor, x: Tensor) -> Result<Tensor, Error> {
        self.pruned.compressed.map.unmerge(graph, updated, Some(x))
    }
}
