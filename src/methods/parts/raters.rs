//! Words that an image is about: SparseVLM's raters.

use crate::error::Error;
use crate::graph::{Graph, Tensor};
use crate::kernels::{
    AttentionInputs, AttentionScore, Compacted, Limit, Queries, Reduce, RowReduction, Statistic, Threshold, ThresholdInputs, add, compact,
    invert_index, merge_tokens, multiply, reduce,
};
use crate::methods::SparseVlm;
use crate::methods::parts::image_range::ImageRange;
use crate::methods::parts::lists::{as_one, blocks, choose, reciprocal, rows_of};
use crate::token_map::{Tokens, count_by_length};

/// The text tokens whose attention counts: what [`SparseVlm::raters`] chooses, and [`SparseVlm::build`] reads.
#[derive(Debug, Clone, Copy)]
pub struct Raters {
    /// How much the image tokens look at each text token, `[batch, text]` f32.
    pub score: Tensor,
    /// The raters' places in the text, ascending, and how many.
    pub listed: Compacted,
}

impl Raters {
    /// Their mean attention to every token, by the queries and keys of a layer.
    pub(crate) fn attention(
        &self,
        graph: &mut Graph,
        tokens: &Tokens,
        image: ImageRange,
        queries: Tensor,
        keys: Tensor,
    ) -> Result<Tensor, Error> {
        let [batch, capacity, _] = tokens.checked()?;
        let text = capacity - image.end;
        let inputs = AttentionInputs { queries, keys, bias: None, lengths: Some(tokens.lengths), query_lengths: None };
        let place = invert_index(graph, self.listed.indices, text)?;
        let is_rater = choose(graph, place, text, [1, 0])?;
        let mut sum: Option<Tensor> = None;
        for rows in blocks(text) {
            let queries = Queries::List((image.end + rows.start..image.end + rows.end).collect());
            let attention = AttentionScore { queries, rows: RowReduction::None, causal: true, ..Default::default() };
            let of_text = attention.build(graph, inputs)?.score;
            let is_rater = rows_of(graph, is_rater, rows)?;
            let listed = compact(graph, is_rater, None)?.indices;
            let listed = as_one(graph, listed)?;
            let of_block = merge_tokens(graph, of_text, listed, None, Reduce::Sum)?;
            sum = Some(match sum {
                Some(sum) => add(graph, sum, of_block)?,
                None => of_block,
            });
        }
        // There is one block at least.
        let sum = graph.reshape(sum.unwrap_or(is_rater), [batch, capacity])?;
        let inverse = reciprocal(graph, self.listed.counts, text)?;
        multiply(graph, sum, inverse)
    }
}

impl SparseVlm {
    /// Chooses the raters by the hidden states that enter the language model.
    ///
    /// Cost: `4 I T C` operations for I image and T text tokens (half of it for up to 16 image tokens), one copy of the tokens,
    /// three small dispatches or more. The matrix `I x T` is not stored where it is large.
    pub fn raters(&self, graph: &mut Graph, tokens: &Tokens) -> Result<Raters, Error> {
        let [batch, capacity, channels] = tokens.checked()?;
        let image = self.image(capacity)?;
        let mut part = |first: u32, end: u32| {
            let rows = rows_of(graph, tokens.x, first..end)?;
            graph.reshape(rows, [batch, 1, end - first, channels])
        };
        let (queries, keys) = (part(image.start, image.end)?, part(image.end, capacity)?);
        let (image_lengths, _) = count_by_length(graph, tokens.lengths, capacity, |live| image.live(live))?;
        let (lengths, _) = count_by_length(graph, tokens.lengths, capacity, |live| live.saturating_sub(image.end))?;
        let (lengths, query_lengths) = (Some(lengths), Some(image_lengths));
        let attention = AttentionScore { queries: Queries::All, scale: Some(1.0), ..Default::default() };
        let score = attention.build(graph, AttentionInputs { queries, keys, bias: None, lengths, query_lengths })?.score;
        let mean = reduce(graph, score, 1, Statistic::Mean, lengths)?;
        let above = ThresholdInputs { lengths, ..ThresholdInputs::new(score, Limit::PerRow(mean)) };
        let mask = Threshold::default().build(graph, above)?;
        Ok(Raters { score, listed: compact(graph, mask, lengths)? })
    }
}
