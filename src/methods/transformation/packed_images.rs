//! Images of different sizes, packed one after the other: the neighbours of each become one token.

use crate::checks::expect;
use crate::error::Error;
use crate::graph::{Graph, Tensor, expect_listed};
use crate::kernels::{ChannelOrder, Limit, PixelUnshuffle, Ranges, Relation, Threshold, ThresholdInputs, compact, gather_rows, ranges};
use crate::tensor::{Desc, Elem, HostTensor, Shape};

/// Sequences packed one after the other: images of different sizes, or texts without padding.
///
/// Each becomes a row of a batch, and every kernel and method takes such rows with their lengths: attention,
/// scores, a selection with a budget for each, ToMe, pruning. What a sequence gives is what it gives alone in a row of as many places, to
/// the bit, and nobody reads another sequence's tokens. [`pack_sequences`] makes one row of the results again.
///
/// ```
/// use tokenpress::kernels::{Statistic, reduce};
/// use tokenpress::methods::Sequences;
/// use tokenpress::{Elem, Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// let x = graph.constant(HostTensor::f32([1, 5], vec![1.0, 3.0, 4.0, 5.0, 9.0]));
/// let offsets = graph.input("cu_seqlens", [3], Elem::U32);
/// let sequences = Sequences::new(&mut graph, offsets, 4)?;
/// let rows = sequences.rows(&mut graph, x)?;
/// let means = reduce(&mut graph, rows, 1, Statistic::Mean, Some(sequences.lengths))?;
/// graph.output("means", means)?;
/// let inputs = [("cu_seqlens".to_owned(), HostTensor::u32([3], vec![0, 2, 5]))];
/// assert_eq!(graph.run_reference(&inputs.into())?["means"].floats(), [2.0, 6.0]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[doc(alias("cu_seqlens", "varlen", "NaViT"))]
#[derive(Debug, Clone, Copy)]
pub struct Sequences {
    /// u32 `[S]`: tokens of each.
    pub lengths: Tensor,
    /// u32 `[S, longest]`: their places.
    places: Tensor,
}

impl Sequences {
    /// `offsets` is u32 `[S + 1]`: sequence s is the tokens `offsets[s] .. offsets[s + 1]`, of which the first `longest` count.
    ///
    /// # Errors
    /// [`Error::Shape`] and [`Error::Elem`] for other offsets. [`Error::Value`] if `longest` is 0.
    pub fn new(graph: &mut Graph, offsets: Tensor, longest: u32) -> Result<Self, Error> {
        let Ranges { indices, lengths } = ranges(graph, offsets, longest)?;
        Ok(Self { lengths, places: indices })
    }

    /// Sequences whose lengths the host knows.
    ///
    /// # Errors
    /// [`Error::Value`] if they are more than 2^32 - 1 tokens together.
    pub fn of_counts(graph: &mut Graph, counts: &[u32]) -> Result<Self, Error> {
        let mut offsets = vec![0u32];
        for count in counts {
            let end = offsets.last().and_then(|begin| begin.checked_add(*count));
            offsets.push(end.ok_or_else(|| Error::Value {
                argument: "sequences: counts",
                expected: "fewer than 2^32 tokens together".to_owned(),
                actual: format!("{counts:?}"),
            })?);
        }
        let offsets = graph.constant(HostTensor::u32([offsets.len() as u32], offsets));
        Self::new(graph, offsets, counts.iter().copied().max().unwrap_or(1).max(1))
    }

    /// `x` `[1, N, C]` or `[1, N]`, of any element type, as `[S, longest, C]` or `[S, longest]`, with 0 after a sequence's tokens
    /// ([`NONE`](crate::NONE) for integers). Apply it to each tensor that goes with the tokens.
    ///
    /// # Errors
    /// [`Error::Shape`] for another shape.
    pub fn rows(&self, graph: &mut Graph, x: Tensor) -> Result<Tensor, Error> {
        let [sequences, longest] = self.places.shape().exactly("sequences: places", "[S, longest]")?;
        let wrong = |expected: &str| Error::Shape { argument: "sequences: x", expected: expected.to_owned(), actual: x.shape() };
        let shape: Shape = match *x.shape().dims() {
            [1, _] => [sequences, longest].into(),
            [1, _, channels] => [sequences, longest, channels].into(),
            _ => return Err(wrong("[1, N, C] or [1, N]")),
        };
        let all = sequences.checked_mul(longest).ok_or_else(|| wrong("fewer than 2^32 tokens in all rows"))?;
        let places = graph.reshape(self.places, [1, all])?;
        let gathered = gather_rows(graph, x, places, None)?;
        graph.reshape(gathered, shape)
    }
}

/// The live tokens of all batch rows, packed one after the other, and how many they are: the inverse of [`Sequences::rows`].
///
/// `x` is `[B, N, C]` or `[B, N]`, of any element type; `lengths` is u32 `[B]`. Gives `[1, B * N, C]` or `[1, B * N]`, with 0 after the live
/// tokens ([`NONE`](crate::NONE) for integers), and u32 `[1]`. Apply it to each tensor that goes with the tokens: the places are found once.
///
/// Cost: one dispatch to flag live tokens, a [`compact`](crate::kernels::compact()) of `B * N` flags, and one read and one write of `x`.
///
/// ```
/// use tokenpress::methods::pack_sequences;
/// use tokenpress::{Graph, HostTensor, NONE};
///
/// let mut graph = Graph::new();
/// let rows = graph.constant(HostTensor::u32([2, 3], vec![10, 11, 12, 20, 21, 22]));
/// let lengths = graph.constant(HostTensor::u32([2], vec![1, 3]));
/// let (packed, total) = pack_sequences(&mut graph, rows, lengths)?;
/// graph.output("packed", packed)?;
/// graph.output("total", total)?;
/// let out = graph.run_reference(&[].into())?;
/// assert_eq!(out["packed"].integers(), [10, 20, 21, 22, NONE, NONE]);
/// assert_eq!(out["total"].integers(), [4]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
///
/// # Errors
/// [`Error::Shape`] and [`Error::Elem`] for other shapes and types.
#[doc(alias("cu_seqlens", "varlen", "unpad"))]
pub fn pack_sequences(graph: &mut Graph, x: Tensor, lengths: Tensor) -> Result<(Tensor, Tensor), Error> {
    let wrong = |expected: &str| Error::Shape { argument: "pack_sequences: x", expected: expected.to_owned(), actual: x.shape() };
    let (batch, tokens) = match *x.shape().dims() {
        [batch, tokens] | [batch, tokens, _] => (batch, tokens),
        _ => return Err(wrong("[B, N, C] or [B, N]")),
    };
    expect("pack_sequences: lengths", lengths.desc(), Desc::new([batch], Elem::U32))?;
    let all = batch.checked_mul(tokens).ok_or_else(|| wrong("fewer than 2^32 tokens"))?;
    let shape: Shape = match *x.shape().dims() {
        [_, _, channels] => [1, all, channels].into(),
        _ => [1, all].into(),
    };
    let scores = graph.filled_f32([batch, tokens], 0.0);
    let inputs = ThresholdInputs { lengths: Some(lengths), ..ThresholdInputs::new(scores, Limit::Constant(0.0)) };
    let live = Threshold { relation: Relation::AtLeast }.build(graph, inputs)?;
    let live = graph.reshape(live, [1, all])?;
    let places = compact(graph, live, None)?;
    let rows = graph.reshape(x, shape)?;
    Ok((gather_rows(graph, rows, places.indices, None)?, places.counts))
}

/// Qwen2-VL, Qwen2.5-VL and Qwen3-VL: the order in which the image processor emits patches, (block row, block column,
/// dy, dx). The merger then reads `merge * merge` neighbours as one token of as many times the channels:
/// [`Graph::reshape`] to `[B, h * w / merge^2, merge^2 * C]`.
///
/// `x` is `[B, h * w, C]` row by row, of any element type (position ids must go the same way); `grid` is `[h, w]`,
/// multiples of `merge` (`spatial_merge_size`, 2). `Qwen2VLImageProcessor` in huggingface/transformers. Frames of a
/// video are entries of the batch.
///
/// Cost: one dispatch; one read and one write of each element.
///
/// ```
/// use tokenpress::methods::qwen2_vl_patch_order;
/// use tokenpress::{Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// let x = graph.constant(HostTensor::u32([1, 8, 1], (0..8).collect()));
/// let patches = qwen2_vl_patch_order(&mut graph, x, [2, 4], 2)?;
/// graph.output("patches", patches)?;
/// assert_eq!(graph.run_reference(&[].into())?["patches"].integers(), [0, 1, 4, 5, 2, 3, 6, 7]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
pub fn qwen2_vl_patch_order(graph: &mut Graph, x: Tensor, grid: [u32; 2], merge: u32) -> Result<Tensor, Error> {
    let merged = PixelUnshuffle::idefics3(merge).unshuffle_tokens(graph, x, grid)?;
    let [batch, blocks, channels] = merged.shape().exactly("qwen2_vl_patch_order: x", "[B, h * w, C]")?;
    let patches = merge * merge;
    graph.reshape(merged, [batch, blocks * patches, channels / patches])
}

/// NVLM with dynamic resolution: every tile of a packed sequence is shuffled by itself, k x k, (dy, dx, channel), row
/// by row.
///
/// `x` is `[B, sum of h * w, C]`; `tiles` are the `[h, w]` of the tiles in their order, multiples of `k`. Gives
/// `[B, sum of h * w / k^2, k^2 * C]`. `pixel_shuffle_dynamic_res` in NVIDIA/Megatron-LM,
/// `megatron/core/models/multimodal/llava_model.py`, which splits and joins the sequence on the host; here it is one
/// gather.
///
/// Cost: one dispatch; one read and one write of each element, and a constant of 4 bytes a token.
///
/// ```
/// use tokenpress::methods::nvlm_dynamic_resolution;
/// use tokenpress::{Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// let x = graph.constant(HostTensor::u32([1, 12, 1], (0..12).collect()));
/// let blocks = nvlm_dynamic_resolution(&mut graph, x, &[[2, 2], [2, 4]], 2)?;
/// graph.output("blocks", blocks)?;
/// assert_eq!(graph.run_reference(&[].into())?["blocks"].integers(), [0, 1, 2, 3, 4, 5, 8, 9, 6, 7, 10, 11]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
pub fn nvlm_dynamic_resolution(graph: &mut Graph, x: Tensor, tiles: &[[u32; 2]], k: u32) -> Result<Tensor, Error> {
    let whole = |n: &u32| k != 0 && n.is_multiple_of(k);
    if !tiles.iter().flatten().all(whole) {
        let (expected, actual) = (format!("sizes that are multiples of {k}"), format!("{tiles:?}"));
        return Err(Error::Value { argument: "nvlm_dynamic_resolution: tiles", expected, actual });
    }
    packed(graph, x, tiles, k, "nvlm_dynamic_resolution: x", "nvlm_dynamic_resolution: k")
}

/// Mistral 3 and Pixtral on images of different sizes packed one after the other: each by itself, `merge` x `merge`,
/// (channel, dy, dx), row by row.
///
/// `x` is `[B, sum of h * w, C]`; `images` are the `[h, w]` of the images in their order. With `merge` (`spatial_merge_size`, 2)
/// it gives `[B, sum of floor(h / merge) * floor(w / merge), merge^2 * C]`: rows and columns that fill no block are dropped, as
/// `F.unfold` does. `Mistral3PatchMerger` in huggingface/transformers, `modeling_mistral3.py`.
///
/// Cost: two dispatches, each one read and one write of each element, and a constant of 4 bytes a token.
///
/// ```
/// use tokenpress::methods::mistral3_packed;
/// use tokenpress::{Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// let x = graph.constant(HostTensor::u32([1, 6, 2], (0..12).collect()));
/// let blocks = mistral3_packed(&mut graph, x, &[[2, 3]], 2)?;
/// graph.output("blocks", blocks)?;
/// assert_eq!(graph.run_reference(&[].into())?["blocks"].integers(), [0, 2, 6, 8, 1, 3, 7, 9]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
pub fn mistral3_packed(graph: &mut Graph, x: Tensor, images: &[[u32; 2]], merge: u32) -> Result<Tensor, Error> {
    let blocks = packed(graph, x, images, merge, "mistral3_packed: x", "mistral3_packed: merge")?;
    // Blocks of (dy, dx, channel) below each other are an image one block wide.
    let [batch, count, channels] = blocks.shape().exactly("mistral3_packed: x", "[B, N, C]")?;
    let column = graph.reshape(blocks, [batch, count * merge, merge, channels / (merge * merge)])?;
    let channel_first = PixelUnshuffle { channels: ChannelOrder::ChannelFirst, ..PixelUnshuffle::idefics3(merge) };
    channel_first.unshuffle_tokens(graph, column, [count * merge, merge])
}

/// Blocks of (dy, dx, channel) of each image of a packed sequence, without the rows and columns that fill none: one gather by
/// an index that is known now.
fn packed(
    graph: &mut Graph,
    x: Tensor,
    images: &[[u32; 2]],
    k: u32,
    argument: &'static str,
    factor_argument: &'static str,
) -> Result<Tensor, Error> {
    let [batch, tokens, channels] = x.shape().exactly(argument, "[B, N, C]")?;
    let wrong_factor = || Error::Value { argument: factor_argument, expected: "from 1 to 65535".to_owned(), actual: k.to_string() };
    let area = k.checked_mul(k).filter(|area| *area != 0).ok_or_else(wrong_factor)?;
    expect_listed(argument, [tokens].into())?;
    let mut index = Vec::new();
    let mut first = 0u64;
    for &[h, w] in images {
        first += u64::from(h) * u64::from(w);
        if first > u64::from(tokens) {
            break;
        }
        let start = (first - u64::from(h) * u64::from(w)) as u32;
        // An image without rows or columns may have any number of the other.
        let [h, w] = if h == 0 || w == 0 { [0; 2] } else { [h, w] };
        for (row, column) in (0..h / k).flat_map(|row| (0..w / k).map(move |column| (row, column))) {
            for (dy, dx) in (0..k).flat_map(|dy| (0..k).map(move |dx| (dy, dx))) {
                index.push(start + (row * k + dy) * w + column * k + dx);
            }
        }
    }
    let (true, Some(wide)) = (first == u64::from(tokens), channels.checked_mul(area)) else {
        let expected = format!("[B, N, C] with the {first} tokens of {images:?}");
        return Err(Error::Shape { argument, expected, actual: x.shape() });
    };
    let used = index.len() as u32;
    let index = graph.constant(HostTensor::u32([used], index));
    let gathered = gather_rows(graph, x, index, None)?;
    graph.reshape(gathered, [batch, used / area, wide])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packing_undoes_unpacking() {
        let mut graph = Graph::new();
        let x = graph.input("x", [1, 7, 2], Elem::F32);
        let counts = [3, 0, 4];
        let sequences = Sequences::of_counts(&mut graph, &counts).unwrap();
        let rows = sequences.rows(&mut graph, x).unwrap();
        assert_eq!(rows.shape().dims(), [3, 4, 2]);
        let (packed, total) = pack_sequences(&mut graph, rows, sequences.lengths).unwrap();
        graph.output("packed", packed).unwrap();
        graph.output("total", total).unwrap();
        let numbers: Vec<f32> = (1..15).map(|i| i as f32).collect();
        let out = graph.run_reference(&[("x".to_owned(), HostTensor::f32([1, 7, 2], numbers.clone()))].into()).unwrap();
        assert_eq!(out["packed"].floats()[..14], numbers);
        assert_eq!(out["packed"].floats()[14..], [0.0; 10]);
        assert_eq!(out["total"].integers(), [7]);
    }

    #[test]
    fn sequences_are_checked() {
        let mut graph = Graph::new();
        let x = graph.input("x", [1, 7], Elem::U32);
        assert!(matches!(Sequences::of_counts(&mut graph, &[u32::MAX, 8]), Err(Error::Value { argument: "sequences: counts", .. })));
        assert!(matches!(Sequences::new(&mut graph, x, 4), Err(Error::Shape { argument: "ranges: offsets", .. })));
        let sequences = Sequences::of_counts(&mut graph, &[3, 4]).unwrap();
        let rows = graph.input("rows", [2, 7], Elem::U32);
        assert!(matches!(sequences.rows(&mut graph, rows), Err(Error::Shape { argument: "sequences: x", .. })));
        let empty = graph.input("empty", [1, 0, 4], Elem::F16);
        let none = Sequences::of_counts(&mut graph, &[]).unwrap();
        assert_eq!(none.rows(&mut graph, empty).unwrap().shape().dims(), [0, 1, 4]);
        let huge = graph.input("huge", [1 << 16, 1 << 16], Elem::F32);
        let lengths = graph.input("lengths", [1 << 16], Elem::U32);
        assert!(matches!(pack_sequences(&mut graph, huge, lengths), Err(Error::Shape { argument: "pack_sequences: x", .. })));
        assert!(matches!(pack_sequences(&mut graph, x, lengths), Err(Error::Shape { argument: "pack_sequences: lengths", .. })));
    }
}
