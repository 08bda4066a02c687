//! What a text says about the image after it.

use crate::error::Error;
use crate::graph::{Graph, Tensor, expect_listed};
use crate::kernels::{AttentionInputs, AttentionScore, HeadReduction, Norm, Queries, RowReduction, multiply};
use crate::methods::parts::lists::reciprocal;
use crate::token_map::{TokenMap, Tokens};

/// What the text says about the image tokens of [`PuMer`](crate::methods::PuMer); there is an example.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum TextScore {
    /// The attention that they receive from the text, mean over heads: the published choice.
    #[default]
    MeanOfHeads,
    /// The same of the first head alone.
    FirstHead,
    /// Inner products of the keys' means over heads.
    Keys,
}

impl TextScore {
    /// Score of each token after the first `text`, `[batch, tokens - text]`, over `text_lengths`; `metric` are the keys' means over heads.
    pub(crate) fn of(
        self,
        graph: &mut Graph,
        tokens: &Tokens,
        metric: Tensor,
        [queries, keys]: [Tensor; 2],
        (text, text_lengths): (u32, Tensor),
    ) -> Result<Tensor, Error> {
        let [batch, capacity, channels] = metric.shape().exactly("pumer: keys", "[batch, heads, tokens, channels]")?;
        expect_listed("pumer: text", [text].into())?;
        let attention = AttentionScore {
            queries: Queries::List((0..text).collect()),
            norm: if self == Self::Keys { Norm::Logits } else { Norm::Softmax },
            rows: RowReduction::Sum,
            heads: if self == Self::FirstHead { HeadReduction::One(0) } else { HeadReduction::Mean },
            columns: Some(text..capacity),
            ..Default::default()
        };
        let means = graph.reshape(metric, [batch, 1, capacity, channels])?;
        let (queries, keys) = if self == Self::Keys { (means, means) } else { (queries, keys) };
        let inputs = AttentionInputs { queries, keys, bias: None, lengths: Some(tokens.lengths), query_lengths: None };
        let sum = attention.build(graph, inputs)?.score;
        let inverse = reciprocal(graph, text_lengths, text)?;
        multiply(graph, sum, inverse)
    }

    /// The same of words anywhere: score of each token, `[batch, tokens]`. A `bias` is added to the logits, and hides what it is
    /// negative infinity for.
    pub(crate) fn of_words(
        self,
        graph: &mut Graph,
        tokens: &Tokens,
        metric: Tensor,
        [queries, keys]: [Tensor; 2],
        words: &TokenMap,
        bias: Option<Tensor>,
    ) -> Result<Tensor, Error> {
        let [batch, capacity, channels] = metric.shape().exactly("pumer: keys", "[batch, heads, tokens, channels]")?;
        let [_, text] = words.representative.shape().exactly("pumer: text", "[batch, text]")?;
        let attention = AttentionScore {
            queries: Queries::All,
            norm: if self == Self::Keys { Norm::Logits } else { Norm::Softmax },
            rows: RowReduction::Sum,
            heads: if self == Self::FirstHead { HeadReduction::One(0) } else { HeadReduction::Mean },
            ..Default::default()
        };
        let means = graph.reshape(metric, [batch, 1, capacity, channels])?;
        let (queries, keys) = if self == Self::Keys { (means, means) } else { (queries, keys) };
        let queries = words.gather(graph, queries)?;
        let inputs = AttentionInputs { queries, keys, bias, lengths: Some(tokens.lengths), query_lengths: Some(words.lengths) };
        let sum = attention.build(graph, inputs)?.score;
        let inverse = reciprocal(graph, words.lengths, text)?;
        multiply(graph, sum, inverse)
    }
}
