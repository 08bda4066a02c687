//! A prompt of image and text, as MustDrop reads it.

use crate::error::Error;
use crate::graph::{Graph, Tensor};
use crate::kernels::gather_rows;
use crate::methods::parts::image_range::ImageRange;
use crate::pattern::{Pattern, Piece};
use crate::tensor::{Desc, Elem};
use crate::token_map::{Tokens, count_by_length};

/// A prompt of image and text on its way through a language model: what [`DualAttention`](crate::methods::DualAttention) prunes,
/// where there is an example.
#[derive(Debug, Clone, Copy)]
pub struct Prefill {
    /// The tokens; the text is everything after the image.
    pub tokens: Tokens,
    /// 1 for image tokens, `[batch, tokens]` u32.
    pub image: Tensor,
    /// Positions of the text, `[batch, text]` u32, and how many, `[batch]`.
    pub text: (Tensor, Tensor),
    /// Positions of the key set, `[batch, key]` u32, [`NONE`](crate::NONE) after the last.
    pub key: Tensor,
}

impl Prefill {
    /// A prompt with `image_tokens` tokens of an image from `image_start` on.
    ///
    /// `key` `[batch, key]` is the key set, counted from the first image token.
    pub fn new(graph: &mut Graph, tokens: Tokens, image_start: u32, image_tokens: u32, key: Tensor) -> Result<Self, Error> {
        let [batch, capacity, _] = tokens.checked()?;
        let arguments = ["mustdrop: image"; 2];
        let ImageRange { start, end } = ImageRange::new(arguments, image_start, image_tokens, image_tokens, capacity)?;
        let piece = |end, first| Piece { end, first, step: 0 };
        let image = Pattern::Pieces([piece(start, 0), piece(end, 1), piece(u32::MAX, 0)]);
        let image = graph.pattern(Desc::new([batch, capacity], Elem::U32), image);
        let text = graph.counted([batch, capacity - end], end, 1);
        let positions = graph.counted([batch, end - start], start, 1);
        let key = gather_rows(graph, positions, key, None)?;
        let (text_lengths, _) = count_by_length(graph, tokens.lengths, capacity, |live| live.saturating_sub(end))?;
        Ok(Self { tokens, image, text: (text, text_lengths), key })
    }
}
