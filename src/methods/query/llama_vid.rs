//! LLaMA-VID: a frame as one token of what a text asks for, and a few of what there is.
//!
//! Li et al., "LLaMA-VID: An Image is Worth 2 Tokens in Large Language Models" (ECCV 2024), `https://arxiv.org/abs/2311.17043`.

use crate::error::Error;
use crate::graph::{Graph, Tensor};
use crate::kernels::operands::lengths_or_full;
use crate::kernels::{Activation, AttentionInputs, AttentionScore, HeadReduction, Queries, Reduce, concat_rows, merge_tokens};
use crate::methods::parts::affine::{Affine, perceptron};
use crate::methods::parts::lists::as_one;
use crate::methods::query::content::Content;

/// Two tokens a frame: one by the text's attention, one by the mean; or a grid of the latter.
///
/// ```text
/// A        = softmax over the frame's tokens of text key(x)^T / sqrt(C)
/// weights  = mean of A over the text's rows
/// context  = value(sum_n weights_n x_n)                 the values are not projected before
/// content  = projector(mean of x, or of each cell)
/// tokens   = [context, content]
/// ```
///
/// Cost: `2 M N C` operations a frame and those of the projections; A is not stored for more than 16 rows of text.
///
/// ```
/// use tokenpress::methods::{Affine, Content, LlamaVid};
/// use tokenpress::{Elem, Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// let frames = graph.input("frames", [1, 4, 1], Elem::F32);
/// let text = graph.constant(HostTensor::f32([1, 1, 1], vec![0.0]));
/// let one = Affine { weight: graph.constant(HostTensor::f32([1, 1], vec![1.0])), bias: None };
/// let method = LlamaVid { key: one, value: one, projector: vec![one], content: Content::Mean };
/// let tokens = method.build(&mut graph, frames, [2, 2], text, None)?.tokens;
/// graph.output("tokens", tokens)?;
/// let frames = HostTensor::f32([1, 4, 1], vec![1.0, 2.0, 3.0, 6.0]);
/// // A text without a wish attends to all alike.
/// assert_eq!(graph.run_reference(&[("frames".to_owned(), frames)].into())?["tokens"].floats(), [3.0, 3.0]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct LlamaVid {
    /// Of the frame's tokens, `[C, C]`.
    pub key: Affine,
    /// Of the context, `[O, C]`.
    pub value: Affine,
    /// Of the content, `[O, C]`, with exact GELU between several layers.
    pub projector: Vec<Affine>,
    /// What is projected.
    pub content: Content,
}

/// What [`LlamaVid::build`] gives.
#[derive(Debug, Clone, Copy)]
pub struct LlamaVidOutput {
    /// `[frames, 1 + contents, O]`, the context first.
    pub tokens: Tensor,
    /// `[frames, 1, O]`.
    pub context: Tensor,
    /// `[frames, contents, O]`.
    pub content: Tensor,
    /// `[frames, N]` f32.
    pub weights: Tensor,
}

impl LlamaVid {
    /// Compresses `frames` `[F, h * w, C]`, a grid of `[h, w]` each, by `text` `[F, M, C]`, rows that a text encoder has made of the
    /// prompt for each frame. The first `text_lengths[f]` of them are alive, all for `None` (as in the published code, which lets
    /// padding take part).
    pub fn build(
        &self,
        graph: &mut Graph,
        frames: Tensor,
        grid: [u32; 2],
        text: Tensor,
        text_lengths: Option<Tensor>,
    ) -> Result<LlamaVidOutput, Error> {
        let [count, tokens, _] = frames.shape().exactly("llama_vid: frames", "[F, h * w, C]")?;
        let [text_frames, rows, text_channels] = text.shape().exactly("llama_vid: text", "[F, M, C]")?;
        let keys = self.key.linear(graph, frames, Activation::None)?;
        let queries = graph.reshape(text, [text_frames, 1, rows, text_channels])?;
        let keys = graph.reshape(keys, [count, 1, tokens, text_channels])?;
        let attention = AttentionScore { queries: Queries::All, heads: HeadReduction::One(0), ..Default::default() };
        let query_lengths = Some(lengths_or_full(graph, text_lengths, count, rows));
        let inputs = AttentionInputs { queries, keys, bias: None, lengths: None, query_lengths };
        let weights = attention.build(graph, inputs)?.score;
        let members = graph.counted([count, tokens], 0, 1);
        let all = as_one(graph, members)?;
        let sum = merge_tokens(graph, frames, all, Some(weights), Reduce::WeightedSum)?;
        let context = self.value.linear(graph, sum, Activation::None)?;

        let content = self.content.of(graph, frames, grid)?;
        let content = perceptron(graph, content, &self.projector, Activation::Gelu)?;
        let (tokens, _) = concat_rows(graph, (context, None), (content, None))?;
        Ok(LlamaVidOutput { tokens, context, content, weights })
    }
}
