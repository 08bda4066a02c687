//! Where images are in a prompt.

use crate::error::Error;
use crate::graph::{Graph, Tensor};
use crate::kernels::{Compacted, compact, concat_rows, gather_rows, lookup, mark};
use crate::methods::parts::lists::{allowed, choose, live_mask, rows_of};
use crate::methods::parts::places::Protected;
use crate::methods::parts::places::image_range::ImageRange;
use crate::token_map::{TokenMap, Tokens, count_by_length, plus_one};

/// Where the image tokens of a prompt are: the same range in every row, or marks on the GPU.
///
/// Marks serve for rows that are padded in front, for several images in one prompt, and for batches of such. All marked tokens of a row are
/// one image to a method, in their order. A row without any stays as it is.
///
/// Cost: none for a range. For marks about ten small dispatches of integers.
///
/// ```
/// use tokenpress::methods::{FastV, Images};
/// use tokenpress::{Elem, Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// let tokens = graph.tokens("x", [2, 6, 1], Elem::F32)?;
/// let [queries, keys] = ["q", "k"].map(|name| graph.input(name, [2, 1, 6, 1], Elem::F32));
/// // The second row is padded in front by two tokens, which nothing sees.
/// let marks = graph.constant(HostTensor::u32([2, 6], vec![0, 1, 1, 0, 0, 0, /**/ 0, 0, 0, 1, 1, 0]));
/// let hidden = f32::NEG_INFINITY;
/// let bias = [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, /**/ hidden, hidden, 0.0, 0.0, 0.0, 0.0];
/// let bias = Some(graph.constant(HostTensor::f32([2, 6], bias.to_vec())));
/// let method = FastV { images: Images::Marked { marks, others: 4 }, rank: 1, bias };
/// let kept = method.build(&mut graph, &tokens, queries, keys)?;
/// graph.output("kept", kept.pruned.selection.indices)?;
/// let heads = HostTensor::f32([2, 1, 6, 1], vec![0.0, 1.0, 2.0, 0.0, 0.0, 1.0, /**/ 9.0, 9.0, 0.0, 2.0, 1.0, 1.0]);
/// let x = HostTensor::f32([2, 6, 1], vec![0.0; 12]);
/// let inputs = [("x", x), ("q", heads.clone()), ("k", heads)].map(|(name, value)| (name.to_owned(), value));
/// assert_eq!(graph.run_reference(&inputs.into())?["kept"].integers(), [0, 2, 3, 4, 5, /**/ 0, 1, 2, 3, 5]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Images {
    /// The same tokens in every row.
    Range {
        /// Position of the first image token, the length of what is before the image.
        start: u32,
        /// Number of image tokens.
        tokens: u32,
    },
    /// The tokens that are marked, by a tensor `[batch, tokens]`, or `[tokens]` for all rows. In u32 any number but 0 is a mark, in f32,
    /// f16 and bf16 any number above 0.
    Marked {
        /// The marks.
        marks: Tensor,
        /// How many tokens of a row are no image's, at most. Outputs have room for so many, and for what a method keeps of the images; with
        /// `u32::MAX` they have room for all tokens. Of a row with more the last of them count as the image's.
        others: u32,
    },
}

/// No image.
impl Default for Images {
    fn default() -> Self {
        Self::Range { start: 0, tokens: 0 }
    }
}

impl Images {
    /// The range, if it is one: within the capacity, and with no fewer tokens than are to stay. The arguments are those of the two.
    pub(crate) fn range(self, arguments: [&'static str; 2], keep: u32, capacity: u32) -> Result<Option<ImageRange>, Error> {
        match self {
            Self::Range { start, tokens } => ImageRange::new(arguments, start, tokens, keep, capacity).map(Some),
            Self::Marked { .. } => Ok(None),
        }
    }

    /// How many image tokens a row has that has all tokens: of marks the least number.
    pub(crate) fn of_full_row(self, capacity: u32) -> u32 {
        match self {
            Self::Range { tokens, .. } => tokens,
            Self::Marked { others, .. } => capacity.saturating_sub(others),
        }
    }

    /// 1 for image tokens, `[batch, tokens]` u32. What is behind a row's live tokens may be anything.
    pub(crate) fn marks(self, graph: &mut Graph, tokens: &Tokens) -> Result<Tensor, Error> {
        match self {
            Self::Range { start, tokens: count } => {
                let range = ImageRange { start, end: start.saturating_add(count) };
                Ok(range.marks(graph, [tokens.batch(), tokens.capacity()]))
            }
            Self::Marked { .. } => {
                let others = Protected::all_but(graph, tokens, self, ["images"; 2], 0)?.marks(graph, tokens);
                choose(graph, others, 1, [1, 0])
            }
        }
    }

    /// Where they are after a map that keeps all other tokens, and of those of a range so many.
    pub(crate) fn after(self, graph: &mut Graph, tokens: &Tokens, map: &TokenMap, kept: u32) -> Result<Self, Error> {
        match self {
            Self::Range { start, .. } => Ok(Self::Range { start, tokens: kept }),
            Self::Marked { others, .. } => {
                let marks = self.marks(graph, tokens)?;
                Ok(Self::Marked { marks: map.gather(graph, marks)?, others })
            }
        }
    }

    /// Where they are once other tokens follow these: of a range that grows so, or marks that do; tokens of an image, or others.
    pub(crate) fn followed(self, graph: &mut Graph, tokens: &Tokens, more: &Tokens, are_image: bool) -> Result<Self, Error> {
        match self {
            Self::Range { start, tokens } if are_image => Ok(Self::Range { start, tokens: tokens.saturating_add(more.capacity()) }),
            Self::Range { .. } => Ok(self),
            Self::Marked { marks, others } => {
                let added = graph.filled([more.batch(), more.capacity()], u32::from(are_image));
                let (marks, _) = concat_rows(graph, (marks, Some(tokens.lengths)), (added, Some(more.lengths)))?;
                Ok(Self::Marked { marks, others })
            }
        }
    }

    /// The text of a prompt: live tokens behind the first image token that are not an image's. And where the head of the prompt ends:
    /// behind the last image token, `[batch]` u32.
    pub(crate) fn text(self, graph: &mut Graph, tokens: &Tokens) -> Result<(Compacted, Tensor), Error> {
        let [batch, capacity, _] = tokens.checked()?;
        let marks = self.marks(graph, tokens)?;
        let image = compact(graph, marks, Some(tokens.lengths))?;
        let first = rows_of(graph, image.indices, 0..1)?;
        let first = graph.reshape(first, [batch])?;
        // Without an image all is before it.
        let before = live_mask(graph, first, capacity)?;
        let behind = choose(graph, before, 1, [1, 0])?;
        let others = choose(graph, image.ranks, capacity, [mark::EXCLUDED, mark::CANDIDATE])?;
        let text = allowed(graph, [batch, capacity], Some(tokens.lengths), Some(others), behind)?;
        let text = compact(graph, text, Some(tokens.lengths))?;

        let (last, _) = count_by_length(graph, image.counts, capacity, |count| count.wrapping_sub(1))?;
        let last = graph.reshape(last, [batch, 1])?;
        let last = gather_rows(graph, image.indices, last, None)?;
        let last = graph.reshape(last, [batch])?;
        let end = || (1..=capacity).chain([0]).collect();
        let end = graph.listed("tokens: x", [plus_one("tokens: x", capacity)?], end)?;
        Ok((text, lookup(graph, end, last)?))
    }
}
