//! Words that an image is about: SparseVLM's raters.

use crate::error::Error;
use crate::graph::{Graph, Tensor};
use crate::kernels::{
    AttentionInputs, AttentionScore, Compacted, Limit, Queries, Reduce, RowReduction, Statistic, Threshold, ThresholdInputs, add, compact,
    gather_rows, invert_index, merge_tokens, multiply, reduce,
};
use crate::methods::SparseVlm;
use crate::methods::parts::lists::{as_one, blocks, choose, marks_of, reciprocal, rows_of};
use crate::methods::parts::places::Protected;
use crate::token_map::{Tokens, count_by_length};

/// The text tokens whose attention counts: what [`SparseVlm::raters`] chooses, and [`SparseVlm::build`] reads.
#[derive(Debug, Clone, Copy)]
pub struct Raters {
    /// How much the image tokens look at each text token, `[batch, text]` f32.
    pub score: Tensor,
    /// The raters' places in the text, ascending, and how many.
    pub listed: Compacted,
    /// Their places among all tokens that are no image's, which stay through all stages: u32 `[batch, text]`.
    among_others: Tensor,
}

impl Raters {
    /// Their mean attention to every token, by the queries and keys of a layer.
    pub(crate) fn attention(
        &self,
        graph: &mut Graph,
        tokens: &Tokens,
        method: &SparseVlm,
        others: Protected,
        queries: Tensor,
        keys: Tensor,
    ) -> Result<Tensor, Error> {
        let [batch, capacity, _] = tokens.checked()?;
        let inputs = AttentionInputs { queries, keys, bias: method.bias, lengths: Some(tokens.lengths), query_lengths: None };
        // Rows that may be raters', from the first on, and which of them are.
        let (first, rows, is_rater) = match others {
            Protected::Outside(image, _) => {
                let text = capacity - image.end;
                let place = invert_index(graph, self.listed.indices, text)?;
                (image.end, text, choose(graph, place, text, [1, 0])?)
            }
            _ => {
                let (positions, _) = others.listed(graph, tokens)?;
                let positions = gather_rows(graph, positions, self.among_others, None)?;
                (0, capacity, marks_of(graph, positions, capacity, 1)?)
            }
        };
        let mut sum: Option<Tensor> = None;
        for rows in blocks(rows) {
            let queries = Queries::List((first + rows.start..first + rows.end).collect());
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
        let inverse = reciprocal(graph, self.listed.counts, rows)?;
        multiply(graph, sum, inverse)
    }
}

impl SparseVlm {
    /// Chooses the raters by the hidden states that enter the language model.
    ///
    /// Cost: `4 I T C` operations for I image and T text tokens (half of it for up to 16 image tokens), one copy of the tokens, two for
    /// marked images, three small dispatches or more. The matrix `I x T` is not stored where it is large.
    pub fn raters(&self, graph: &mut Graph, tokens: &Tokens) -> Result<Raters, Error> {
        let [batch, capacity, channels] = tokens.checked()?;
        let others = self.others(graph, tokens)?;
        let one_head = |graph: &Graph, rows: Tensor| {
            let [_, count, _] = rows.shape().exactly("sparsevlm: x", "[batch, tokens, channels]")?;
            graph.reshape(rows, [batch, 1, count, channels])
        };
        let (queries, keys, image_lengths, lengths, among_others) = match others {
            Protected::Outside(image, _) => {
                let queries = rows_of(graph, tokens.x, image.start..image.end)?;
                let keys = rows_of(graph, tokens.x, image.end..capacity)?;
                let (image_lengths, _) = count_by_length(graph, tokens.lengths, capacity, |live| image.live(live))?;
                let (lengths, _) = count_by_length(graph, tokens.lengths, capacity, |live| live.saturating_sub(image.end))?;
                (queries, keys, image_lengths, lengths, graph.counted([batch, capacity - image.end], image.start, 1))
            }
            _ => {
                let image = others.others(graph, tokens)?;
                let (text, _) = self.images.text(graph, tokens)?;
                let queries = gather_rows(graph, tokens.x, image.indices, None)?;
                let keys = gather_rows(graph, tokens.x, text.indices, None)?;
                let (positions, _) = others.listed(graph, tokens)?;
                let place = invert_index(graph, positions, capacity)?;
                let among_others = gather_rows(graph, place, text.indices, None)?;
                (queries, keys, image.counts, text.counts, among_others)
            }
        };
        let (queries, keys) = (one_head(graph, queries)?, one_head(graph, keys)?);
        let (lengths, query_lengths) = (Some(lengths), Some(image_lengths));
        let attention = AttentionScore { queries: Queries::All, scale: Some(1.0), ..Default::default() };
        let score = attention.build(graph, AttentionInputs { queries, keys, bias: None, lengths, query_lengths })?.score;
        let mean = reduce(graph, score, 1, Statistic::Mean, lengths)?;
        let above = ThresholdInputs { lengths, ..ThresholdInputs::new(score, Limit::PerRow(mean)) };
        let mask = Threshold::default().build(graph, above)?;
        let listed = compact(graph, mask, lengths)?;
        Ok(Raters { score, listed, among_others: gather_rows(graph, among_others, listed.indices, None)? })
    }
}
