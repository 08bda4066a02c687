//! MustDrop: image tokens that no word looks at are dropped while the prompt is read, but for a key set, [`KeyTokens`](crate::methods::KeyTokens).
//! Its first stage, in the vision encoder, is [`WindowMerge`](crate::methods::WindowMerge).
//!
//! Liu et al., "Multi-Stage Vision Token Dropping: Towards Efficient Multimodal Large Language Model" (2024).

use crate::error::Error;
use crate::graph::{Graph, Tensor};
use crate::kernels::{
    AttentionInputs, AttentionScore, Limit, Queries, Reduce, Relation, RowReduction, Statistic, Threshold, ThresholdInputs, compact,
    gather_rows, mark, merge_tokens, reduce, scale,
};
use crate::methods::Prefill;
use crate::methods::parts::keep::keep_marked;
use crate::methods::parts::lists::{as_one, choose, marks_of};
use crate::options;
use crate::token_map::{Compressed, TokenMap};

/// Stage two, while the prompt is read: drops the image tokens that the text attends to neither together nor at any one word.
///
/// ```text
/// A_tj = mean over heads of softmax_j(q_t . k_j / sqrt(D))           t in the text; causal, over all keys
/// drop image token j if sum_t A_tj < global * sum over t and image tokens of A, and max_t A_tj < individual, unless it is key
/// ```
///
/// How many that are is decided on the GPU for each row. Positions are renumbered: `map.positions(graph, None, Positions::Compact)`.
///
/// Stage three, the decoding, keeps every layer's cache at the last stage's tokens: the maps of the stages behind a layer, one
/// [`then`](TokenMap::then) the other, [`gather`](TokenMap::gather) its keys and values.
///
/// ```
/// use tokenpress::methods::{DualAttention, Prefill};
/// use tokenpress::{Elem, Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// let tokens = graph.tokens("x", [1, 6, 1], Elem::F32)?;
/// let [queries, keys] = ["q", "k"].map(|name| graph.input(name, [1, 1, 6, 1], Elem::F32));
/// let key = graph.constant(HostTensor::u32([1, 1], vec![1]));
/// let prompt = Prefill::new(&mut graph, tokens, 1, 4, key)?;
/// let kept = DualAttention { global: 0.2, individual: 0.2 }.build(&mut graph, &prompt, queries, keys)?;
/// graph.output("lengths", kept.map.lengths)?;
/// let x = HostTensor::f32([1, 6, 1], vec![0.0, 3.0, 0.0, 1.0, 4.0, 1.0]);
/// let heads = x.clone().reshaped([1, 1, 6, 1]);
/// let inputs = [("x", x), ("q", heads.clone()), ("k", heads)].map(|(name, value)| (name.to_owned(), value));
/// // Of image tokens 1 to 4 the text attends to 1 and 4, and 2 is key.
/// assert_eq!(graph.run_reference(&inputs.into())?["lengths"].integers(), [5]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DualAttention {
    /// Share of the text's attention to the image, below which a token is dropped.
    pub global: f32,
    /// Attention of one word, below which a token is dropped.
    pub individual: f32,
}

/// A prompt behind a stage.
#[derive(Debug, Clone, Copy)]
pub struct DualAttentionOutput {
    /// What is left, for the next stage.
    pub prompt: Prefill,
    /// Where every token went.
    pub map: TokenMap,
    /// 1 for the tokens that the text does not look at, the key set's among them, `[batch, tokens]` u32.
    pub unattended: Tensor,
}

impl DualAttention {
    /// Prunes a prompt by the queries and keys `[batch, heads, tokens, channels]` of the layer.
    pub fn build(&self, graph: &mut Graph, prompt: &Prefill, queries: Tensor, keys: Tensor) -> Result<DualAttentionOutput, Error> {
        let Prefill { tokens, image, text: (text, text_lengths), key } = *prompt;
        let [batch, capacity, _] = tokens.checked()?;
        options::threshold("mustdrop: individual", self.individual)?;
        options::at_least("mustdrop: global", 0.0, f64::from(self.global))?;
        let lengths = Some(tokens.lengths);
        // The text comes last, so that its rows alone are as causal as all of them.
        let queries = gather_rows(graph, queries, text, None)?;
        let attention = AttentionScore { queries: Queries::All, rows: RowReduction::None, causal: true, ..Default::default() };
        let inputs = AttentionInputs { queries, keys, bias: None, lengths, query_lengths: Some(text_lengths) };
        let of_text = attention.score(graph, inputs)?.score;
        let sum = reduce(graph, of_text, 1, Statistic::Sum, Some(text_lengths))?;
        let largest = reduce(graph, of_text, 1, Statistic::Max, Some(text_lengths))?;
        let of_image = compact(graph, image, lengths)?.indices;
        let of_image = as_one(graph, of_image)?;
        let total = merge_tokens(graph, sum, of_image, None, Reduce::Sum)?;
        let limit = scale(graph, total, self.global)?;
        let limit = graph.reshape(limit, [batch])?;

        let below = Threshold { relation: Relation::Below };
        let together = ThresholdInputs { lengths, among: Some(image), ..ThresholdInputs::new(sum, Limit::PerRow(limit)) };
        let together = below.mask(graph, together)?;
        let alone = ThresholdInputs { lengths, among: Some(together), ..ThresholdInputs::new(largest, Limit::Constant(self.individual)) };
        let unattended = below.mask(graph, alone)?;
        let marks = marks_of(graph, key, capacity, mark::EXCLUDED)?;
        let dropped = below.mask(graph, ThresholdInputs { marks: Some(marks), ..alone })?;

        let kept = choose(graph, dropped, 1, [1, 0])?;
        let Compressed { tokens, map } = keep_marked(graph, &tokens, kept, capacity)?;
        let image = map.gather(graph, image)?;
        let text = gather_rows(graph, map.parent, text, None)?;
        let key = gather_rows(graph, map.parent, key, None)?;
        Ok(DualAttentionOutput { prompt: Prefill { tokens, image, text: (text, text_lengths), key }, map, unattended })
    }
}
