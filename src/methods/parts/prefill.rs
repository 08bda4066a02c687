//! A prompt of image and text, as MustDrop reads it.

use crate::error::Error;
use crate::graph::{Graph, Tensor};
use crate::kernels::{compact, gather_rows};
use crate::methods::parts::places::Images;
use crate::token_map::{Tokens, count_by_length};

/// A prompt of image and text on its way through a language model: what [`DualAttention`](crate::methods::DualAttention) prunes,
/// where there is an example.
#[derive(Debug, Clone, Copy)]
pub struct Prefill {
    /// The tokens; the text is everything after the image. Of several images it is all that is no image's after the first image token.
    pub tokens: Tokens,
    /// 1 for image tokens, `[batch, tokens]` u32.
    pub image: Tensor,
    /// Positions of the text, `[batch, text]` u32, and how many, `[batch]`.
    pub text: (Tensor, Tensor),
    /// Whether the text is the last part of every row. Its rows of attention can then be made alone; otherwise those of all tokens are.
    pub text_is_last: bool,
    /// Positions of the key set, `[batch, key]` u32, [`NONE`](crate::NONE) after the last.
    pub key: Tensor,
    /// f32 `[batch, tokens]`, added to the logits: negative infinity hides padding in front of a row. None from [`Prefill::new`].
    pub bias: Option<Tensor>,
}

impl Prefill {
    /// A prompt with images.
    ///
    /// `key` `[batch, key]` is the key set, counted from the first image token; of several images among the image tokens alone.
    pub fn new(graph: &mut Graph, tokens: Tokens, images: Images, key: Tensor) -> Result<Self, Error> {
        let [batch, capacity, _] = tokens.checked()?;
        let image = images.marks(graph, &tokens)?;
        if let Some(range) = images.range(["mustdrop: image"; 2], 0, capacity)? {
            let text = graph.counted([batch, capacity - range.end], range.end, 1);
            let positions = graph.counted([batch, range.end - range.start], range.start, 1);
            let key = gather_rows(graph, positions, key, None)?;
            let (text_lengths, _) = count_by_length(graph, tokens.lengths, capacity, |live| live.saturating_sub(range.end))?;
            return Ok(Self { tokens, image, text: (text, text_lengths), text_is_last: true, key, bias: None });
        }
        let (text, _) = images.text(graph, &tokens)?;
        let positions = compact(graph, image, Some(tokens.lengths))?.indices;
        let key = gather_rows(graph, positions, key, None)?;
        Ok(Self { tokens, image, text: (text.indices, text.counts), text_is_last: false, key, bias: None })
    }
}
