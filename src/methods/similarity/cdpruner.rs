//! CDPruner: relevant and diverse tokens by a determinantal point process.
//!
//! Zhang et al., "Beyond Attention or Similarity: Maximizing Conditional Diversity for Token Pruning in MLLMs" (NeurIPS 2025).

use crate::error::Error;
use crate::graph::{Graph, Tensor};
use crate::kernels::{AttentionInputs, AttentionScore, MinMax, Norm, Objective, Queries, row_normalize};
use crate::methods::parts::diverse::{Diverse, diverse};
use crate::token_map::Tokens;

/// Keeps the tokens whose determinant, of relevance and similarity, is greedily the largest.
///
/// ```text
/// r_i = (max a - a_i + 1e-6) / (max a - min a)        a_i = mean over texts of cos(image_i, text)
/// L_ij = r_i cos(x_i, x_j) r_j
/// S = S + argmax_i det L_{S + i} / det L_S            keep times; in ascending position
/// ```
///
/// - The published code negates the relevance ([`CdPruner::negated`]). It is made for embeddings of CLIP, in which the tokens of the
///   subject are the least similar to the text.
/// - The published code takes minimum and maximum over the whole batch. Here each row has its own, unless [`CdPruner::over_batch`] is set.
/// - A row in which all are equally similar has a relevance of 1 for all.
///
/// Cost: `2 k N C + k min(k, C) N` operations to select k of N tokens ([`GreedySelect`](crate::kernels::GreedySelect)), with a
/// workspace of `4 N (3 + min(k, C))` bytes a row; three small dispatches for the relevance, two more over the batch; one copy of
/// the kept tokens.
///
/// ```
/// use tokenpress::methods::CdPruner;
/// use tokenpress::{Elem, Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// let tokens = graph.tokens("x", [1, 4, 2], Elem::F32)?;
/// let relevance = graph.constant(HostTensor::f32([1, 4], vec![0.1, 0.2, 0.9, 0.5]));
/// let kept = CdPruner { keep: 2, ..Default::default() }.build(&mut graph, &tokens, relevance)?;
/// graph.output("order", kept.kept.selected.indices)?;
/// let x = HostTensor::f32([1, 4, 2], vec![1.0, 0.1, 1.0, 0.0, 1.0, 0.2, 0.0, 1.0]);
/// let out = graph.run_reference(&[("x".to_owned(), x)].into())?;
/// assert_eq!(out["order"].integers(), [0, 3]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[doc(alias = "dpp")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CdPruner {
    /// Tokens that stay.
    pub keep: u32,
    /// The tokens least similar to the text are the most relevant, as in the published code.
    pub negated: bool,
    /// Minimum and maximum are those of the batch, as in the published code. A row then no longer gets what it would get alone.
    pub over_batch: bool,
}

impl Default for CdPruner {
    fn default() -> Self {
        Self { keep: 64, negated: true, over_batch: false }
    }
}

/// Tokens after CDPruner, and what chose them.
#[derive(Debug, Clone, Copy)]
pub struct CdPrunerOutput {
    /// The tokens left.
    pub kept: Diverse,
    /// r, `[batch, tokens]` f32.
    pub relevance: Tensor,
}

impl CdPruner {
    /// Prunes `tokens`, the rows after the projector, by their similarity to the text `[batch, tokens]` f32: [`text_similarity`].
    pub fn build(&self, graph: &mut Graph, tokens: &Tokens, similarity: Tensor) -> Result<CdPrunerOutput, Error> {
        tokens.checked()?;
        let range = MinMax { descending: self.negated, over_batch: self.over_batch, offset: 1e-6, epsilon: 0.0 };
        let relevance = range.build(graph, similarity, Some(tokens.lengths))?;
        let kept = diverse(graph, tokens, Objective::Determinant, Some(relevance), |live| self.keep.min(live))?;
        Ok(CdPrunerOutput { kept, relevance })
    }
}

/// The mean cosine of every image token's embedding `[batch, tokens, channels]` to the embeddings of its texts
/// `[batch, texts, channels]`, of the same joint space: `[batch, tokens]` f32. `lengths` and `text_lengths` are u32 `[batch]`.
///
/// Cost: four dispatches, `2 T N C` operations for T texts. The matrix `T x N` is not stored for more than 16 texts.
///
/// ```
/// use tokenpress::methods::text_similarity;
/// use tokenpress::{Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// let image = graph.constant(HostTensor::f32([1, 2, 2], vec![1.0, 0.0, 0.0, 2.0]));
/// let text = graph.constant(HostTensor::f32([1, 1, 2], vec![3.0, 0.0]));
/// let similarity = text_similarity(&mut graph, image, text, None, None)?;
/// graph.output("similarity", similarity)?;
/// assert_eq!(graph.run_reference(&[].into())?["similarity"].floats(), [1.0, 0.0]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
pub fn text_similarity(
    graph: &mut Graph,
    image: Tensor,
    text: Tensor,
    lengths: Option<Tensor>,
    text_lengths: Option<Tensor>,
) -> Result<Tensor, Error> {
    let image = row_normalize(graph, image, lengths)?.unit;
    let text = row_normalize(graph, text, text_lengths)?.unit;
    let one_head = |graph: &Graph, unit: Tensor| {
        let [batch, tokens, channels] = unit.shape().exactly("text_similarity: unit", "[B, N, C]")?;
        graph.reshape(unit, [batch, 1, tokens, channels])
    };
    // A logit of unit rows is their cosine.
    let mean = AttentionScore { queries: Queries::All, norm: Norm::Logits, ..Default::default() };
    let (queries, keys) = (one_head(graph, text)?, one_head(graph, image)?);
    Ok(mean.build(graph, AttentionInputs { queries, keys, bias: None, lengths, query_lengths: text_lengths })?.score)
}
