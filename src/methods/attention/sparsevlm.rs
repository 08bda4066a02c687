//! SparseVLM: image tokens of a language model are judged by the words that the image is about, and dropped ones recycled.
//!
//! Zhang et al., "SparseVLM: Visual Token Sparsification for Efficient Vision-Language Model Inference" (ICML 2025).

use crate::error::Error;
use crate::graph::{Graph, Tensor};
use crate::kernels::{Order, Selection};
use crate::methods::Raters;
use crate::methods::parts::image_range::ImageRange;
use crate::methods::parts::keep::keep_range;
use crate::methods::parts::prune::Prune;
use crate::token_map::{Compressed, Tokens, count_by_length};

/// Keeps the image tokens that the raters, the words most like the image, attend to most; clusters a part of the others.
///
/// ```text
/// g_t    = mean over image tokens i of softmax_t(x_i . x_t) over the text        once, of the first hidden states
/// raters = the text tokens with g_t > mean of g
/// a_j    = mean over raters t and heads of softmax_j(q_t . k_j / sqrt(D))        causal, over all keys; at each stage
/// keep the `rank` image tokens of highest a in order; of the n others the int(0.3 n) + 1 = m of highest a become int(m / 10) + 1
/// clusters (DensityClusters with as many neighbours), after the image tokens and before the text
/// ```
///
/// How many raters there are is decided on the GPU. The text is everything after the image.
///
/// - A mean of a cluster is exact. The published code divides by the count plus 1e-6.
/// - Ties go to the lowest index. The published densities have noise of 1e-6 to break them.
/// - `rank` is a number for each stage, as in the published code. The paper derives it from the rank of the attention.
///
/// Cost: `2 H M N D` operations for M words and N tokens. Their attention is in memory for 64 words at a time, in `256 (H + 1) N` bytes a
/// batch row. Beside it a selection, one copy of the kept tokens, and with `recycle` `6 m^2 C` operations for the clusters of m tokens.
///
/// ```
/// use tokenpress::methods::SparseVlm;
/// use tokenpress::{Elem, Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// let tokens = graph.tokens("x", [1, 8, 1], Elem::F32)?;
/// let [queries, keys] = ["q", "k"].map(|name| graph.input(name, [1, 1, 8, 1], Elem::F32));
/// let stage = SparseVlm { image_start: 1, image_tokens: 4, rank: 2, recycle: true };
/// let raters = stage.raters(&mut graph, &tokens)?;
/// let kept = stage.build(&mut graph, &tokens, &raters, queries, keys)?;
/// graph.output("parent", kept.compressed.map.parent)?;
/// let x = HostTensor::f32([1, 8, 1], vec![0.0, 3.0, 1.0, 2.0, 4.0, 1.0, 2.0, 1.0]);
/// let heads = x.clone().reshaped([1, 1, 8, 1]);
/// let inputs = [("x", x), ("q", heads.clone()), ("k", heads)].map(|(name, value)| (name.to_owned(), value));
/// // Image tokens 1 and 4 stay, 3 is recycled, and 2 is gone.
/// assert_eq!(graph.run_reference(&inputs.into())?["parent"].integers(), [0, 1, tokenpress::NONE, 3, 2, 4, 5, 6]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SparseVlm {
    /// Position of the first image token.
    pub image_start: u32,
    /// Image tokens of this stage, clusters of the stage before among them.
    pub image_tokens: u32,
    /// Image tokens that stay.
    pub rank: u32,
    /// Whether dropped ones are clustered.
    pub recycle: bool,
}

/// Tokens after a stage, and what decided.
#[derive(Debug, Clone, Copy)]
pub struct SparseVlmOutput {
    /// `[.., image.., clusters.., text..]`, and where every token went.
    pub compressed: Compressed,
    /// The raters' attention to every token, `[batch, tokens]` f32.
    pub score: Tensor,
    /// Positions before the text that stay, and those that do not.
    pub selection: Selection,
}

impl SparseVlm {
    pub(crate) fn image(&self, capacity: u32) -> Result<ImageRange, Error> {
        ImageRange::new(["sparsevlm: image", "sparsevlm: rank"], self.image_start, self.image_tokens, self.rank, capacity)
    }

    /// Prunes at a stage by the queries and keys `[batch, heads, tokens, channels]` of its layer.
    pub fn build(
        &self,
        graph: &mut Graph,
        tokens: &Tokens,
        raters: &Raters,
        queries: Tensor,
        keys: Tensor,
    ) -> Result<SparseVlmOutput, Error> {
        let [_, capacity, _] = tokens.checked()?;
        let image = self.image(capacity)?;
        let score = raters.attention(graph, tokens, image, queries, keys)?;
        // Up to the text; the clusters; and the text.
        let (before_text, _) = count_by_length(graph, tokens.lengths, capacity, |live| live.min(image.end))?;
        let marks = image.others_protected(graph, capacity);
        let (this, head) = (*self, Tokens { lengths: before_text, ..*tokens });
        let keep = move |live: u32| image.kept(live, this.rank);
        let pruned = Prune { order: Order::Index }.build(graph, &head, score, Some(marks), keep)?;
        let mut compressed = pruned.compressed;
        if let (true, Some(dropped)) = (self.recycle && self.recycled().0 > 0, pruned.selection.complement) {
            let clusters = self.clusters(graph, tokens, image, score, dropped)?;
            compressed = compressed.append(graph, &clusters)?;
        }
        let text = keep_range(graph, tokens, image.end..capacity)?;
        let compressed = compressed.append(graph, &text)?;
        Ok(SparseVlmOutput { compressed, score, selection: pruned.selection })
    }
}
