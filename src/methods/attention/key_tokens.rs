//! MustDrop's key set, chosen in the vision encoder.
//!
//! Liu et al., "Multi-Stage Vision Token Dropping: Towards Efficient Multimodal Large Language Model" (2024).

use crate::error::Error;
use crate::graph::{Graph, Tensor};
use crate::kernels::{AttentionInputs, AttentionScore, Selection, TopK, TopKInputs};
use crate::options;
use crate::schedule::{Rounding, keep_count};
use crate::token_map::{Tokens, count_by_length};

/// The key set: patches that later stages must not drop.
///
/// The `ceil(share * patches)` patches that the class token attends to most, in descending attention.
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
/// let key = KeyTokens { share: 0.5 }.build(&mut graph, &tokens, queries, keys)?;
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
}

impl Default for KeyTokens {
    fn default() -> Self {
        Self { share: 0.08 }
    }
}

impl KeyTokens {
    /// Selects among `tokens`, whose token 0 is the class token, by the queries and keys `[batch, heads, tokens, channels]` of the
    /// encoder's last attention. The indices count patches, from 0.
    pub fn build(&self, graph: &mut Graph, tokens: &Tokens, queries: Tensor, keys: Tensor) -> Result<Selection, Error> {
        let [_, capacity, _] = tokens.checked()?;
        options::share("mustdrop: share", self.share)?;
        let attention = AttentionScore { columns: Some(1.min(capacity)..capacity), ..Default::default() };
        let inputs = AttentionInputs { queries, keys, bias: None, lengths: Some(tokens.lengths), query_lengths: None };
        let score = attention.build(graph, inputs)?.score;
        let patches = |live: u32| live.saturating_sub(1);
        let share = self.share;
        let count = move |live: u32| keep_count(patches(live), share, Rounding::Ceil);
        let (lengths, _) = count_by_length(graph, tokens.lengths, capacity, patches)?;
        let (counts, most) = count_by_length(graph, tokens.lengths, capacity, count)?;
        let inputs = TopKInputs { lengths: Some(lengths), counts: Some(counts), ..TopKInputs::new(score) };
        TopK { k: most, ..Default::default() }.build(graph, inputs)
    }

    /// The old name of `build`.
    #[deprecated(note = "it is `build` now, as everywhere")]
    pub fn select(&self, graph: &mut Graph, tokens: &Tokens, queries: Tensor, keys: Tensor) -> Result<Selection, Error> {
        self.build(graph, tokens, queries, keys)
    }
}
