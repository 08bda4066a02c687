//! MustDrop: image tokens that no word looks at are dropped while the prompt is read.
//!
//! A key set stays, [`KeyTokens`](crate::methods::KeyTokens). The first stage, in the vision encoder, is
//! [`WindowMerge`](crate::methods::WindowMerge).
//!
//! Liu et al., "Multi-Stage Vision Token Dropping: Towards Efficient Multimodal Large Language Model" (2024).

use crate::error::Error;
use crate::graph::{Graph, Tensor};
use crate::kernels::{
    AttentionInputs, AttentionScore, Limit, Queries, Reduce, Relation, RowReduction, Statistic, Threshold, ThresholdInputs, TopK,
    TopKInputs, add, compact, concat_rows, gather_rows, mark, merge_tokens, reduce, scale,
};
use crate::methods::Prefill;
use crate::methods::parts::keep::keep_marked;
use crate::methods::parts::lists::{allowed, as_one, blocks, choose, live_of_blocks, marks_of, rows_of, select_mask};
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
/// Images may be anywhere ([`Images`](crate::methods::Images)); a row without one stays as it is.
///
/// Cost: `2 H M N D` operations for M words and N tokens. Their attention is in memory for 64 words at a time, in `256 (H + 1) N` bytes a
/// batch row. For marked images the attention is that of all N tokens, not only the words'. Beside it two thresholds and one copy of the
/// kept tokens.
///
/// Stage three is the decoding. It keeps every layer's cache at the last stage's tokens. Chain the maps of the stages after a layer by
/// [`then`](TokenMap::then), and take the layer's keys and values by [`gather`](TokenMap::gather).
///
/// ```
/// use tokenpress::methods::{DualAttention, Images, Prefill};
/// use tokenpress::{Elem, Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// let tokens = graph.tokens("x", [1, 6, 1], Elem::F32)?;
/// let [queries, keys] = ["q", "k"].map(|name| graph.input(name, [1, 1, 6, 1], Elem::F32));
/// let key = graph.constant(HostTensor::u32([1, 1], vec![1]));
/// let prompt = Prefill::new(&mut graph, tokens, Images::Range { start: 1, tokens: 4 }, key)?;
/// let kept = DualAttention { global: 0.2, individual: 0.2, floor: 0 }.build(&mut graph, &prompt, queries, keys)?;
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
    /// At least so many image tokens stay, of a row with fewer all of them. Of the others those stay too that the text together attends to
    /// most, the first of equal ones; that costs six small dispatches.
    pub floor: u32,
}

/// A prompt after a stage.
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
        let Prefill { tokens, image, text: (text, text_lengths), text_is_last, key, bias } = *prompt;
        let [batch, capacity, _] = tokens.checked()?;
        options::threshold("mustdrop: individual", self.individual)?;
        options::at_least("mustdrop: global", 0.0, f64::from(self.global))?;
        let lengths = Some(tokens.lengths);
        let inputs = AttentionInputs { queries, keys, bias, lengths, query_lengths: None };
        let [sum, largest] = if text_is_last {
            // Its rows alone are as causal as all of them.
            let queries = gather_rows(graph, queries, text, None)?;
            of_text(graph, AttentionInputs { queries, query_lengths: Some(text_lengths), ..inputs }, text_lengths)?
        } else {
            of_words(graph, inputs, text, capacity)?
        };
        let of_image = compact(graph, image, lengths)?.indices;
        let of_image = as_one(graph, of_image)?;
        let total = merge_tokens(graph, sum, of_image, None, Reduce::Sum)?;
        let limit = scale(graph, total, self.global)?;
        let limit = graph.reshape(limit, [batch])?;

        let below = Threshold { relation: Relation::Below };
        let together = ThresholdInputs { lengths, among: Some(image), ..ThresholdInputs::new(sum, Limit::PerRow(limit)) };
        let together = below.build(graph, together)?;
        let alone = ThresholdInputs { lengths, among: Some(together), ..ThresholdInputs::new(largest, Limit::Constant(self.individual)) };
        let unattended = below.build(graph, alone)?;
        let marks = marks_of(graph, key, capacity, mark::EXCLUDED)?;
        let dropped = below.build(graph, ThresholdInputs { marks: Some(marks), ..alone })?;

        let mut kept = choose(graph, dropped, 1, [1, 0])?;
        if self.floor > 0 {
            // Image tokens that stay in any case go first, then those that would be dropped.
            let [of_image, of_dropped] = [(image, mark::PROTECTED), (dropped, mark::CANDIDATE)].map(|(mask, one)| {
                choose(graph, mask, 1, [mark::EXCLUDED, one]).and_then(|marks| graph.reshape(marks, [batch, 1, capacity]))
            });
            let (both, _) = concat_rows(graph, (of_image?, None), (of_dropped?, None))?;
            let marks = reduce(graph, both, 1, Statistic::Min, None)?;
            let best = TopK { k: self.floor.min(capacity), ..Default::default() };
            let best = select_mask(graph, best, TopKInputs { lengths, marks: Some(marks), ..TopKInputs::new(sum) })?;
            kept = allowed(graph, [batch, capacity], lengths, Some(best), kept)?;
        }
        let Compressed { tokens, map } = keep_marked(graph, &tokens, kept, capacity)?;
        let image = map.gather(graph, image)?;
        let text = gather_rows(graph, map.parent, text, None)?;
        let key = gather_rows(graph, map.parent, key, None)?;
        let bias = bias.map(|bias| map.gather(graph, bias)).transpose()?;
        let prompt = Prefill { tokens, image, text: (text, text_lengths), text_is_last, key, bias };
        Ok(DualAttentionOutput { prompt, map, unattended })
    }
}

/// What every token receives from words at these positions, `[batch, text]` u32: the sum and the largest, `[batch, tokens]` f32.
fn of_words(graph: &mut Graph, inputs: AttentionInputs, text: Tensor, tokens: u32) -> Result<[Tensor; 2], Error> {
    let is_word = marks_of(graph, text, tokens, 1)?;
    let mut all: Option<[Tensor; 2]> = None;
    for rows in blocks(tokens) {
        let queries = Queries::List(rows.clone().collect());
        let attention = AttentionScore { queries, rows: RowReduction::None, causal: true, ..Default::default() };
        let of_rows = attention.build(graph, inputs)?.score;
        let words = rows_of(graph, is_word, rows)?;
        let words = compact(graph, words, None)?.indices;
        let words = as_one(graph, words)?;
        // Of no words both are 0, and no attention is less.
        let [sum, largest] = [Reduce::Sum, Reduce::Max].map(|of| merge_tokens(graph, of_rows, words, None, of));
        let (sum, largest) = (sum?, largest?);
        all = Some(match all {
            None => [sum, largest],
            Some([sum_before, before]) => {
                let (both, _) = concat_rows(graph, (before, None), (largest, None))?;
                let largest = reduce(graph, both, 1, Statistic::Max, None)?;
                let [batch, _, tokens] = before.shape().exactly("mustdrop: attention", "[batch, 1, tokens]")?;
                [add(graph, sum_before, sum)?, graph.reshape(largest, [batch, 1, tokens])?]
            }
        });
    }
    // There is one block at least.
    let [sum, largest] = all.unwrap_or([is_word; 2]);
    let [batch, _] = is_word.shape().exactly("mustdrop: text", "[batch, tokens]")?;
    Ok([graph.reshape(sum, [batch, tokens])?, graph.reshape(largest, [batch, tokens])?])
}

/// What every token receives from the text, by queries of it alone: the sum and the largest of all live rows, `[batch, tokens]` f32.
fn of_text(graph: &mut Graph, inputs: AttentionInputs, lengths: Tensor) -> Result<[Tensor; 2], Error> {
    let [batch, _, text, _] = inputs.queries.shape().exactly("mustdrop: queries", "[batch, heads, tokens, channels]")?;
    let live = live_of_blocks(graph, lengths, text)?;
    let mut all: Option<[Tensor; 2]> = None;
    for (rows, live) in blocks(text).zip(live) {
        let queries = Queries::List(rows.collect());
        let attention = AttentionScore { queries, rows: RowReduction::None, causal: true, ..Default::default() };
        let of_rows = attention.build(graph, inputs)?.score;
        let [sum, largest] = [Statistic::Sum, Statistic::Max].map(|of| reduce(graph, of_rows, 1, of, Some(live)));
        let (sum, largest) = (sum?, largest?);
        all = Some(match all {
            None => [sum, largest],
            Some([sum_before, before]) => {
                // A block of no rows has no largest.
                let parts = choose(graph, live, 1, [1, 2])?;
                let [_, tokens] = largest.shape().exactly("mustdrop: attention", "[batch, tokens]")?;
                let [before, largest] = [before, largest].map(|part| graph.reshape(part, [batch, 1, tokens]));
                let (both, _) = concat_rows(graph, (before?, None), (largest?, None))?;
                [add(graph, sum_before, sum)?, reduce(graph, both, 1, Statistic::Max, Some(parts))?]
            }
        });
    }
    // There is one block at least.
    Ok(all.unwrap_or([lengths; 2]))
}
