//! MustDrop: image tokens that no word looks at are dropped while the prompt is read, but for a key set. Its first stage, in the vision
//! encoder, is [`WindowMerge`](super::WindowMerge).
//!
//! Liu et al., "Multi-Stage Vision Token Dropping: Towards Efficient Multimodal Large Language Model" (2024).

use super::prune::{keep_marked, marks_of};
use crate::error::Error;
use crate::graph::{Graph, Tensor};
use crate::kernels::{
    AttentionInputs, AttentionScore, Groups, Limit, Order, Queries, Reduce, Relation, RowReduction, Selection, Statistic, Threshold,
    ThresholdInputs, TopK, TopKInputs, compact, gather_rows, lookup, mark, merge_tokens, reduce, scale,
};
use crate::schedule::{Rounding, keep_count};
use crate::tensor::HostTensor;
use crate::token_map::{Compressed, TokenMap, Tokens, count_by_length};

/// The key set: patches that later stages must not drop.
///
/// The `ceil(share * patches)` patches that the class token attends to most, in descending attention.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct KeyTokens {
    /// Share of the patches; the published one is 0.08.
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
    pub fn select(&self, graph: &mut Graph, tokens: &Tokens, queries: Tensor, keys: Tensor) -> Result<Selection, Error> {
        let capacity = tokens.capacity();
        let attention = AttentionScore { columns: Some(1.min(capacity)..capacity), ..Default::default() };
        let inputs = AttentionInputs { queries, keys, bias: None, lengths: Some(tokens.lengths), query_lengths: None };
        let score = attention.score(graph, inputs)?.score;
        let patches = |live: u32| live.saturating_sub(1);
        let share = self.share;
        let count = move |live: u32| keep_count(patches(live), share, Rounding::Ceil);
        let (lengths, _) = count_by_length(graph, tokens.lengths, capacity, patches)?;
        let (counts, most) = count_by_length(graph, tokens.lengths, capacity, count)?;
        let select = TopK { k: most, order: Order::Value, largest: true, complement: None, mask: false };
        select.select(graph, TopKInputs { scores: score, lengths: Some(lengths), counts: Some(counts), marks: None })
    }
}

/// A prompt of image and text on its way through a language model.
#[derive(Debug, Clone, Copy)]
pub struct Prefill {
    /// The tokens; the text is everything behind the image.
    pub tokens: Tokens,
    /// 1 for image tokens, `[batch, tokens]` u32.
    pub image: Tensor,
    /// Positions of the text, `[batch, text]` u32, and how many, `[batch]`.
    pub text: (Tensor, Tensor),
    /// Positions of the key set, `[batch, key]` u32, [`NONE`](crate::NONE) behind the last.
    pub key: Tensor,
}

impl Prefill {
    /// A prompt with `image_tokens` tokens from `image_start` on, of which those of `key` `[batch, key]`, counted from the first image
    /// token, are the key set.
    pub fn new(graph: &mut Graph, tokens: Tokens, image_start: u32, image_tokens: u32, key: Tensor) -> Result<Self, Error> {
        let (batch, capacity) = (tokens.batch(), tokens.capacity());
        let end = image_start.saturating_add(image_tokens);
        if end > capacity {
            let actual = format!("image tokens {image_start}..{end}");
            return Err(Error::Value { argument: "mustdrop: image", expected: format!("a range within {capacity} tokens"), actual });
        }
        let mut each_row = |list: Vec<u32>| graph.constant(HostTensor::u32([batch, list.len() as u32], list.repeat(batch as usize)));
        let image = each_row((0..capacity).map(|i| u32::from((image_start..end).contains(&i))).collect());
        let text = each_row((end..capacity).collect());
        let positions = each_row((image_start..end).collect());
        let key = gather_rows(graph, positions, key, None)?;
        let (text_lengths, _) = count_by_length(graph, tokens.lengths, capacity, |live| live.saturating_sub(end))?;
        Ok(Self { tokens, image, text: (text, text_lengths), key })
    }
}

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
        let (batch, capacity, lengths) = (tokens.batch(), tokens.capacity(), Some(tokens.lengths));
        // The text comes last, so that its rows alone are as causal as all of them.
        let queries = gather_rows(graph, queries, text, None)?;
        let attention = AttentionScore { queries: Queries::All, rows: RowReduction::None, causal: true, ..Default::default() };
        let inputs = AttentionInputs { queries, keys, bias: None, lengths, query_lengths: Some(text_lengths) };
        let of_text = attention.score(graph, inputs)?.score;
        let sum = reduce(graph, of_text, 1, Statistic::Sum, Some(text_lengths))?;
        let largest = reduce(graph, of_text, 1, Statistic::Max, Some(text_lengths))?;
        let offsets = graph.constant(HostTensor::u32([batch, 2], [0, capacity].repeat(batch as usize)));
        let of_image = Groups { offsets, members: compact(graph, image, lengths)?.indices };
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

        let negation = graph.constant(HostTensor::u32([2], vec![1, 0]));
        let kept = lookup(graph, negation, dropped)?;
        let Compressed { tokens, map } = keep_marked(graph, &tokens, kept, capacity)?;
        let image = map.gather(graph, image)?;
        let text = gather_rows(graph, map.parent, text, None)?;
        let key = gather_rows(graph, map.parent, key, None)?;
        Ok(DualAttentionOutput { prompt: Prefill { tokens, image, text: (text, text_lengths), key }, map, unattended })
    }
}
