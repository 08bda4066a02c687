//! ToMe: token merging by bipartite soft matching.
//!
//! Bolya et al., "Token Merging: Your ViT But Faster" (ICLR 2023), and Bolya and Hoffman, "Token Merging for Fast
//! Stable Diffusion" (2023) for the two-dimensional partition. Written from the mathematics.

use crate::error::Error;
use crate::graph::{Graph, Tensor};
use crate::kernels::{Reduce, log_size};
use crate::methods::parts::matching::Matching;
use crate::methods::parts::merging::Merging;
use crate::methods::parts::multi_head_attention::KeyMask;
use crate::methods::parts::places::{Protect, Protected};
use crate::methods::parts::transformer::TransformerBlock;
use crate::options;
use crate::token_map::{Compressed, TokenMap, Tokens};

/// Token merging: the `merge` sources most similar to a destination are averaged into it.
///
/// ```text
/// m_i = metric_i / |metric_i|          S_ij = m_i . m_j         i in sources, j in destinations
/// v_i = max_j S_ij                     n_i = argmax_j S_ij      (lowest j on ties)
/// merge i into n_i for the r largest v_i (lowest i on ties)
/// x'_j = sum(x_i size_i) / sum(size_i) over j and all that merged into it
/// ```
///
/// `r = min(merge, (live - protected) / 2)`. The output is `[protected, unmerged sources, destinations]`. Unmerged sources stand in descending
/// similarity, or in ascending position where tokens may be protected. Destinations ascend. Zero rows have similarity 0. Rows with a NaN
/// or an infinity merge last. With `keep_order` all stand in ascending position.
///
/// Cost: `2 Ns Nd C` operations for the match of Ns sources and Nd destinations, one read of the metric for its units, a selection, one
/// read and one write of the tokens for the merge.
///
/// ```
/// use tokenpress::methods::{Protect, ToMe};
/// use tokenpress::{Elem, Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// let tokens = graph.tokens("x", [1, 5, 2], Elem::F32)?;
/// let merged = ToMe { merge: 1, protect: Protect::CLASS, ..Default::default() }.build(&mut graph, &tokens, tokens.x)?;
/// graph.output("x'", merged.tokens.x)?;
/// graph.output("parent", merged.map.parent)?;
/// let x = HostTensor::f32([1, 5, 2], vec![9.0, 9.0, 1.0, 0.0, 1.0, 1.0, 0.0, 1.0, 0.0, 3.0]);
/// let out = graph.run_reference(&[("x".to_owned(), x)].into())?;
/// assert_eq!(out["x'"].floats(), [9.0, 9.0, 1.0, 1.0, 1.0, 0.0, 0.0, 2.0]);
/// assert_eq!(out["parent"].integers(), [0, 2, 1, 3, 3]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[doc(alias("bipartite_soft_matching", "token_merging"))]
#[derive(Debug, Clone, Copy, Default)]
pub struct ToMe {
    /// Tokens to merge away, `r` of the paper; capped as above.
    pub merge: u32,
    /// Only sources at least this similar to their destination merge, so that an image's content decides how many.
    ///
    /// This is DyMU, `https://arxiv.org/abs/2504.17040`: set `merge` to `u32::MAX`, and take a threshold for each layer from
    /// [`similarity_threshold`](crate::schedule::similarity_threshold), or all of them, each measured on what the layers before leave, from
    /// [`progressive_thresholds`](crate::schedule::progressive_thresholds).
    pub threshold: Option<f32>,
    /// Tokens that stay out of it.
    pub protect: Protect,
    /// Whether the output keeps the order of tokens: each new token stands where the one does that represents it, a destination or a token
    /// that did not merge. As published it does not. Models with rotary positions, causal or windowed attention need it.
    ///
    /// It costs eight small dispatches of integers; the tokens are moved once in any case.
    pub keep_order: bool,
    /// How tokens are divided into sources and destinations.
    pub matching: Matching,
}

impl ToMe {
    /// Decides on `metric`, `[batch, tokens, channels]` or the keys of an attention `[batch, heads, tokens, channels]`,
    /// whose mean over the heads is then the metric, as the paper's.
    ///
    /// `None` where every row stays as it is.
    pub fn decide(&self, graph: &mut Graph, tokens: &Tokens, metric: Tensor) -> Result<Option<Merging>, Error> {
        let [_, capacity, _] = tokens.checked()?;
        self.threshold.map_or(Ok(()), |threshold| options::threshold("tome: threshold", threshold))?;
        if let Matching::Kth(stride) = self.matching {
            options::within("tome: stride", 1..=u32::MAX, stride)?;
        }
        tokens.expect_metric("tome: metric", metric)?;
        let candidates = self.candidates(graph, tokens)?;
        // Where all but leading tokens are protected, these come first though there is nothing to merge: as with marks of the same tokens.
        let leading = matches!(candidates.protected, Protected::Leading(_));
        let nothing_merges = match self.matching {
            // They have an order of their own, whether or not there is a token to merge.
            Matching::Lists(_) => self.merge == 0,
            // Where tokens may be protected or not, those past the last whole group may be dropped though all would fit.
            Matching::Kth(_) if self.protect != Protect::NONE => false,
            _ => candidates.merged.1 == 0 && candidates.outputs == capacity && (self.merge == 0 || self.keep_order || leading),
        };
        if nothing_merges {
            return Ok(None);
        }
        self.decide_among(graph, tokens, metric, candidates).map(Some)
    }

    /// Merges tokens, weighting each by its size; sizes add up.
    pub fn build(&self, graph: &mut Graph, tokens: &Tokens, metric: Tensor) -> Result<Compressed, Error> {
        tokens.checked()?;
        let Some(Merging { map, .. }) = self.decide(graph, tokens, metric)? else {
            let map = TokenMap::identity(graph, tokens)?;
            return Ok(Compressed { tokens: Tokens { lengths: map.lengths, ..*tokens }, map });
        };
        map.compress(graph, tokens, Some(tokens.size), Reduce::WeightedMean)
    }

    /// A whole block: attention, the merge of what comes of it by the mean of the heads' keys, and the feed-forward layers of
    /// what is left.
    ///
    /// `proportional` attention counts a token as often as its size. The paper has it for all models but masked autoencoders that
    /// were not trained with it.
    pub fn block(&self, graph: &mut Graph, tokens: &Tokens, block: &TransformerBlock, proportional: bool) -> Result<Compressed, Error> {
        tokens.checked()?;
        let projected = block.project(graph, tokens.x)?;
        let bias = if proportional { Some(log_size(graph, tokens.size, Some(tokens.lengths))?) } else { None };
        let mask = KeyMask { bias, lengths: Some(tokens.lengths), query_lengths: None };
        let x = block.attend(graph, tokens.x, projected, mask)?;
        let metric = block.attention.heads_first(graph, projected.keys)?;
        let mut merged = self.build(graph, &Tokens { x, ..*tokens }, metric)?;
        merged.tokens.x = block.feed_forward(graph, merged.tokens.x)?;
        Ok(merged)
    }
}
