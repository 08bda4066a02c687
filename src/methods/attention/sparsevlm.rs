//! SparseVLM: image tokens of a language model are judged by the words that the image is about, and dropped ones recycled.
//!
//! Zhang et al., "SparseVLM: Visual Token Sparsification for Efficient Vision-Language Model Inference" (ICML 2025).

use crate::error::Error;
use crate::graph::{Graph, Tensor};
use crate::kernels::{Order, Selection};
use crate::methods::Raters;
use crate::methods::parts::keep::{keep_marked, keep_range, with_room};
use crate::methods::parts::lists::{choose, first_entries, live_mask};
use crate::methods::parts::places::{Images, Protected};
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
/// How many raters there are is decided on the GPU. The text is everything after the image. Images may be anywhere ([`Images`]): of several
/// the text is all that is no image's after the first image token, and clusters stand after the last. A row without an image stays as it
/// is. Ties go to the lowest position.
///
/// - A mean of a cluster is exact. The published code divides by the count plus 1e-6.
/// - Ties go to the lowest index. The published densities have noise of 1e-6 to break them.
/// - `rank` is a number for each stage, as in the published code. The paper derives it from the rank of the attention.
///
/// Cost: `2 H M N D` operations for M words and N tokens. Their attention is in memory for 64 words at a time, in `256 (H + 1) N` bytes a
/// batch row. For marked images the attention is that of all N tokens, not only the words', and there is one copy more of the kept tokens.
/// Beside it a selection, one copy of the kept tokens, and with `recycle` `6 m^2 C` operations for the clusters of m tokens.
///
/// ```
/// use tokenpress::methods::{Images, SparseVlm};
/// use tokenpress::{Elem, Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// let tokens = graph.tokens("x", [1, 8, 1], Elem::F32)?;
/// let [queries, keys] = ["q", "k"].map(|name| graph.input(name, [1, 1, 8, 1], Elem::F32));
/// let stage = SparseVlm { images: Images::Range { start: 1, tokens: 4 }, rank: 2, recycle: true, bias: None };
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
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct SparseVlm {
    /// Where the image tokens of this stage are, clusters of the stage before among them.
    pub images: Images,
    /// Image tokens that stay.
    pub rank: u32,
    /// Whether dropped ones are clustered: as many as are dropped of a row with the least number of image tokens that [`Images`] promises.
    pub recycle: bool,
    /// f32 `[batch, tokens]`, added to the logits: negative infinity hides padding in front of a row.
    pub bias: Option<Tensor>,
}

/// Tokens after a stage, and what decided.
#[derive(Debug, Clone, Copy)]
pub struct SparseVlmOutput {
    /// `[.., image.., clusters.., text..]`, and where every token went.
    pub compressed: Compressed,
    /// The raters' attention to every token, `[batch, tokens]` f32.
    pub score: Tensor,
    /// Positions before the text that stay, and those that do not; of several images those up to the last.
    pub selection: Selection,
    /// Where image tokens are among those that are left, clusters among them.
    pub images: Images,
}

impl SparseVlm {
    /// All tokens but those of the images.
    pub(crate) fn others(&self, graph: &mut Graph, tokens: &Tokens) -> Result<Protected, Error> {
        Protected::all_but(graph, tokens, self.images, ["sparsevlm: image", "sparsevlm: rank"], self.rank)
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
        let others = self.others(graph, tokens)?;
        let score = raters.attention(graph, tokens, self, others, queries, keys)?;
        let rank = self.rank;
        let stay = |images: u32| images.min(rank);
        // Up to the text; the clusters; and the text.
        let (before_text, counts) = match others {
            Protected::Outside(image, _) => {
                let before = |live: u32| live.min(image.end);
                let kept = |live: u32| before(live) - image.live(live) + stay(image.live(live));
                let counts = count_by_length(graph, tokens.lengths, capacity, kept)?;
                (count_by_length(graph, tokens.lengths, capacity, before)?.0, Some(counts))
            }
            _ => (self.images.text(graph, tokens)?.1, None),
        };
        let head = Tokens { lengths: before_text, ..*tokens };
        let others_before = self.others(graph, &head)?;
        let counts = counts.map_or_else(|| others_before.kept(graph, &head, stay), Ok)?;
        let pruned = Prune { order: Order::Index }.beside_counted(graph, &head, score, others_before, counts)?;
        let mut compressed = pruned.compressed;
        let mut images = self.images.after(graph, &head, &compressed.map, rank)?;
        let (_, clusters) = self.recycled(self.images.of_full_row(capacity));
        let clusters = if self.recycle { clusters } else { 0 };
        if let (true, Some(dropped)) = (clusters > 0, pruned.selection.complement) {
            let merged = self.clusters(graph, &head, others_before, score, dropped)?;
            images = images.followed(graph, &compressed.tokens, &merged.tokens, true)?;
            compressed = compressed.append(graph, &merged)?;
        }
        let text = match others {
            Protected::Outside(image, _) => keep_range(graph, tokens, image.end..capacity)?,
            _ => {
                let before = live_mask(graph, before_text, capacity)?;
                let behind = choose(graph, before, 1, [1, 0])?;
                keep_marked(graph, tokens, behind, others.most())?
            }
        };
        images = images.followed(graph, &compressed.tokens, &text.tokens, false)?;
        compressed = compressed.append(graph, &text)?;
        if let Images::Marked { marks, others: most } = images {
            // Before the images and behind them are no more others than there may be in a row.
            let room = others.most_left(capacity, |images| images.min(rank.saturating_add(clusters)));
            compressed = with_room(graph, compressed, room)?;
            images = Images::Marked { marks: first_entries(graph, marks, compressed.tokens.capacity())?, others: most };
        }
        Ok(SparseVlmOutput { compressed, score, selection: pruned.selection, images })
    }
}
