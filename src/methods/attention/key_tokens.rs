//! MustDrop's key set, chosen in the vision encoder.
//!
//! Liu et al., "Multi-Stage Vision Token Dropping: Towards Efficient Multimodal Large Language Model" (2024).

use crate::error::Error;
use crate::graph::{Graph, Tensor};
use crate::kernels::{AttentionInputs, AttentionScore, Selection, TopK, TopKInputs, gather_rows};
use crate::methods::parts::lists::rows_of;
use crate::methods::parts::places::{Protect, Protected};
use crate::options;
use crate::schedule::{Rounding, keep_count};
use crate::token_map::Tokens;

/// The key set: patches that later stages must not drop.
///
/// The `ceil(share * patches)` patches that the class token attends to most, in descending attention. Ties go to the lowest position.
///
/// Patches are the tokens that are not protected; by default token 0 is, the class token. An encoder without a class token has no row to
/// rank by. There take a score of your own, [`KeyTokens::by_score`].
///
/// Cost: one attention row of `2 H N D` operations for H heads of D channels, and a selection. No token moves.
///
/// ```
/// use tokenpress::methods::KeyTokens;
/// use tokenpress::{Elem, Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// let tokens = graph.tokens("x", [1, 5, 1], Elem::F32)?;
/// let [queries, keys] = ["q", "k"].map(|name| graph.input(name, [1, 1, 5, 1], Elem::F32));
/// let key = KeyTokens { share: 0.5, ..Default::default() }.build(&mut graph, &tokens, queries, keys)?;
/// graph.output("key", key.indices)?;
/// let heads = HostTensor::f32([1, 1, 5, 1], vec![1.0, 0.5, 3.0, 2.0, 0.0]);
/// let inputs = [("q", heads.clone()), ("k", heads)].map(|(name, value)| (name.to_owned(), value));
/// let x = ("x".to_owned(), HostTensor::f32([1, 5, 1], vec![0.0; 5]));
/// assert_eq!(graph.run_reference(&inputs.into_iter().chain([x]).collect())?["key"].integers(), [1, 2]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct KeyTokens {
    /// Share of the patches, 0 to 1; the published one is 0.08.
    pub share: f64,
    /// Tokens that are no patches: the class token, registers. They are never key, and a language model does not get them.
    pub protect: Protect,
}

impl Default for KeyTokens {
    fn default() -> Self {
        Self { share: 0.08, protect: Protect::CLASS }
    }
}

impl KeyTokens {
    /// Selects among `tokens`, whose token 0 is the class token, by the queries and keys `[batch, heads, tokens, channels]` of the
    /// encoder's last attention. The indices count patches, from 0.
    pub fn build(&self, graph: &mut Graph, tokens: &Tokens, queries: Tensor, keys: Tensor) -> Result<Selection, Error> {
        let [_, capacity, _] = tokens.checked()?;
        tokens.expect_metric("mustdrop: keys", keys)?;
        options::share("mustdrop: share", self.share)?;
        let protected = Protected::of(graph, tokens, self.protect)?;
        // The columns of leading tokens need not be made.
        let first = if let Protected::Leading(leading) = protected { leading } else { 0 };
        let attention = AttentionScore { columns: Some(first..capacity), ..Default::default() };
        let inputs = AttentionInputs { queries, keys, bias: None, lengths: Some(tokens.lengths), query_lengths: None };
        let score = attention.build(graph, inputs)?.score;
        self.of_patches(graph, tokens, protected, score)
    }

    /// Selects among `tokens` by a score `[batch, tokens]` f32. The indices count patches, from 0. For encoders without a class token take
    /// the mean attention that each token receives from all.
    ///
    /// ```
    /// use tokenpress::methods::{KeyTokens, Protect};
    /// use tokenpress::{Elem, Graph, HostTensor};
    ///
    /// let mut graph = Graph::new();
    /// let tokens = graph.tokens("x", [1, 4, 1], Elem::F32)?;
    /// // As AttentionScore gives it, with Queries::All.
    /// let received = graph.constant(HostTensor::f32([1, 4], vec![0.2, 0.3, 0.1, 0.4]));
    /// let key = KeyTokens { share: 0.5, protect: Protect::NONE }.by_score(&mut graph, &tokens, received)?;
    /// graph.output("key", key.indices)?;
    /// let x = ("x".to_owned(), HostTensor::f32([1, 4, 1], vec![0.0; 4]));
    /// assert_eq!(graph.run_reference(&[x].into())?["key"].integers(), [3, 1]);
    /// # Ok::<(), tokenpress::Error>(())
    /// ```
    pub fn by_score(&self, graph: &mut Graph, tokens: &Tokens, score: Tensor) -> Result<Selection, Error> {
        let [_, capacity, _] = tokens.checked()?;
        tokens.expect_score("mustdrop: score", score)?;
        options::share("mustdrop: share", self.share)?;
        let protected = Protected::of(graph, tokens, self.protect)?;
        let score = match protected {
            Protected::Leading(leading) if leading > 0 => rows_of(graph, score, leading..capacity)?,
            _ => score,
        };
        self.of_patches(graph, tokens, protected, score)
    }

    /// Selects by the score of all tokens but the leading ones.
    fn of_patches(&self, graph: &mut Graph, tokens: &Tokens, protected: Protected, score: Tensor) -> Result<Selection, Error> {
        let score = match protected {
            Protected::Leading(_) => score,
            _ => {
                let patches = protected.others(graph, tokens)?.indices;
                gather_rows(graph, score, patches, None)?
            }
        };
        let (lengths, _) = protected.of_others(graph, tokens, |patches| patches)?;
        let (counts, most) = protected.of_others(graph, tokens, |patches| keep_count(patches, self.share, Rounding::Ceil))?;
        let inputs = TopKInputs { lengths: Some(lengths), counts: Some(counts), ..TopKInputs::new(score) };
        TopK { k: most, ..Default::default() }.build(graph, inputs)
    }

    /// The old name of `build`.
    #[deprecated(note = "it is `build` now, as everywhere")]
    pub fn select(&self, graph: &mut Graph, tokens: &Tokens, queries: Tensor, keys: Tensor) -> Result<Selection, Error> {
        self.build(graph, tokens, queries, keys)
    }
}
