//! Words that an image is about: SparseVLM's raters.

use crate::error::Error;
use crate::graph::{Graph, Tensor};
use crate::kernels::{
    AttentionInputs, AttentionScore, Compacted, Limit, Queries, Reduce, RowReduction, Statistic, Threshold, ThresholdInputs, compact,
    merge_tokens, reduce,
};
use crate::methods::SparseVlm;
use crate::methods::parts::image_range::ImageRange;
use crate::methods::parts::lists::{as_one, rows_of};
use crate::token_map::{Tokens, count_by_length};

/// The text tokens whose attention counts.
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
        let attention = AttentionScore {
            queries: Queries::List((image.end..capacity).collect()),
            rows: RowReduction::None,
            causal: true,
            ..Default::default()
        };
        let inputs = AttentionInputs { queries, keys, bias: None, lengths: Some(tokens.lengths), query_lengths: None };
        let of_text = attention.score(graph, inputs)?.score;
        let listed = as_one(graph, self.listed.indices)?;
        let mean = merge_tokens(graph, of_text, listed, None, Reduce::Mean)?;
        graph.reshape(mean, [batch, capacity])
    }
}

impl SparseVlm {
    /// Chooses the raters by the hidden states that enter the language model.
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
        let score = attention.score(graph, AttentionInputs { queries, keys, bias: None, lengths, query_lengths })?.score;
        let mean = reduce(graph, score, 1, Statistic::Mean, lengths)?;
        let above = ThresholdInputs { lengths, ..ThresholdInputs::new(score, Limit::PerRow(mean)) };
        let mask = Threshold::default().mask(graph, above)?;
        Ok(Raters { score, listed: compact(graph, mask, lengths)? })
    }
}
