//! Q-Former: learned queries read an image, and a text may steer them.
//!
//! Li et al., "BLIP-2: Bootstrapping Language-Image Pre-training with Frozen Image Encoders and Large Language Models" (ICML 2023),
//! `https://arxiv.org/abs/2301.12597`. InstructBLIP gives it the text, `https://arxiv.org/abs/2305.06500`.

use crate::error::Error;
use crate::graph::{Graph, Tensor};
use crate::kernels::operands::lengths_or_full;
use crate::kernels::{LayerNorm, concat_rows};
use crate::methods::parts::affine::{Affine, repeat};
use crate::methods::parts::lists::rows_of;
use crate::methods::parts::multi_head_attention::KeyMask;
use crate::methods::query::qformer_layer::{QFormerLayer, attended, fed_forward};

/// The whole Q-Former: as many tokens as queries, whatever the image.
///
/// Cost: besides the projections `2 (Q + T)^2 (D + V)` operations a head and layer, and `2 Q N (D + V)` where it looks at the image.
///
/// ```
/// use tokenpress::kernels::Activation;
/// use tokenpress::methods::{Affine, FeedForward, MultiHeadAttention, Projections, QFormer, QFormerInputs, QFormerLayer};
/// use tokenpress::{Elem, Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// let mut weight = |shape: [u32; 2]| graph.constant(HostTensor::f32(shape, vec![0.5; shape.iter().product::<u32>() as usize]));
/// let (square, queries) = (Affine { weight: weight([4, 4]), bias: None }, weight([3, 4]));
/// let norm = Affine { weight: graph.constant(HostTensor::f32([4], vec![1.0; 4])), bias: None };
/// let projections = Projections { queries: square, keys: square, values: square, output: square };
/// let attention = MultiHeadAttention { heads: 2, projections };
/// let feed_forward = FeedForward { up: square, activation: Activation::Gelu, down: square };
/// let (attention, query_feed_forward) = ((attention, norm), (feed_forward, norm));
/// let layer = QFormerLayer { attention, cross_attention: Some(attention), query_feed_forward, text_feed_forward: None };
/// let image = graph.input("image", [2, 9, 4], Elem::F32);
/// let inputs = QFormerInputs { queries, text: None, mask: None, image, image_mask: None, image_lengths: None };
/// let output = QFormer { embedding_norm: norm, layers: vec![layer], epsilon: 1e-12 }.build(&mut graph, &inputs)?;
/// assert_eq!(output.queries.shape(), [2, 3, 4].into());
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[doc(alias("blip2", "instructblip", "cross_attention"))]
#[derive(Debug, Clone)]
pub struct QFormer {
    /// Of queries and text, before the first layer.
    pub embedding_norm: Affine,
    /// In order; twelve in the paper.
    pub layers: Vec<QFormerLayer>,
    /// Epsilon of every norm; BERT's is 1e-12.
    pub epsilon: f32,
}

/// What [`QFormer::build`] reads.
#[derive(Debug, Clone, Copy)]
pub struct QFormerInputs {
    /// Learned queries, `[Q, C]`.
    pub queries: Tensor,
    /// Embeddings of a text's words and positions, `[B, T, C]`.
    pub text: Option<Tensor>,
    /// f32 `[B, Q + T]`, added to the logits of queries and text: 0, and negative infinity (-10000 in the published code) for
    /// padding.
    ///
    /// Negative infinity hides a key. `f32::MIN` and -10000 hide nothing where a whole row has them. A row that sees nothing
    /// gives the last projection's bias.
    pub mask: Option<Tensor>,
    /// The image's tokens, `[B, N, E]`, which have passed their own norm.
    pub image: Tensor,
    /// f32 `[B, N]`, the same for the image's tokens. A row that is -10000 or `f32::MIN` everywhere hides nothing, but its logits
    /// keep few digits, or none.
    pub image_mask: Option<Tensor>,
    /// u32 `[B]`: live tokens of the image. All for `None`.
    pub image_lengths: Option<Tensor>,
}

/// What [`QFormer::build`] gives.
#[derive(Debug, Clone)]
pub struct QFormerOutput {
    /// The queries after the last layer, `[B, Q, C]`.
    pub queries: Tensor,
    /// The text after it, `[B, T, C]`.
    pub text: Option<Tensor>,
    /// Both together after the first norm and after each layer, `[B, Q + T, C]`.
    pub hidden: Vec<Tensor>,
}

impl QFormer {
    /// Adds the layers.
    pub fn build(&self, graph: &mut Graph, inputs: &QFormerInputs) -> Result<QFormerOutput, Error> {
        let [batch, _, _] = inputs.image.shape().exactly("qformer: image", "[B, N, E]")?;
        let mut queries = repeat(graph, "qformer: queries", inputs.queries, batch)?;
        let [_, count, _] = queries.shape().exactly("qformer: queries", "[B, Q, C]")?;
        let norm = LayerNorm::new(self.epsilon);
        let together = |graph: &mut Graph, queries, text: Option<Tensor>| match text {
            Some(text) => Ok(concat_rows(graph, (queries, None), (text, None))?.0),
            None => Ok::<_, Error>(queries),
        };
        let embedded = together(graph, queries, inputs.text)?;
        let mut x = self.embedding_norm.norm(graph, embedded, norm)?;
        let [_, all, _] = x.shape().exactly("qformer: queries", "[B, N, C]")?;
        let mut text = inputs.text;
        let mut hidden = vec![x];
        for layer in &self.layers {
            x = attended(graph, &layer.attention, norm, [x, x], KeyMask { bias: inputs.mask, ..KeyMask::default() })?;
            queries = if all == count { x } else { rows_of(graph, x, 0..count)? };
            if let Some(attention) = &layer.cross_attention {
                // The image's lengths are not the queries', even where there are as many of both.
                let every = lengths_or_full(graph, None, batch, count);
                let mask = KeyMask { bias: inputs.image_mask, lengths: inputs.image_lengths, query_lengths: Some(every) };
                queries = attended(graph, attention, norm, [queries, inputs.image], mask)?;
            }
            queries = fed_forward(graph, &layer.query_feed_forward, norm, queries)?;
            if all > count {
                let words = rows_of(graph, x, count..all)?;
                text = Some(match &layer.text_feed_forward {
                    Some(feed_forward) => fed_forward(graph, feed_forward, norm, words)?,
                    None => words,
                });
            }
            x = together(graph, queries, text)?;
            hidden.push(x);
        }
        Ok(QFormerOutput { queries, text, hidden })
    }
}
