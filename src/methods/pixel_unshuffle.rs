//! Pixel unshuffle as the vision-language models use it: one kernel, whose options are each model's order.
//!
//! Some of them call it "pixel shuffle". A class token is not part of the image: where it is still there, set
//! [`PixelUnshuffle::skip`] to 1.

use crate::error::Error;
use crate::graph::{Graph, Tensor};
use crate::kernels::{ChannelOrder, PixelUnshuffle, TokenOrder, gather_rows};
use crate::tensor::HostTensor;

/// The options of published models.
impl PixelUnshuffle {
    /// InternVL 1.x (`ps_version = 'v1'`): 2 x 2, (dy, dx, channel); the blocks follow each other column by column, a
    /// slip that the model was trained with. `pixel_shuffle` in OpenGVLab/InternVL, `modeling_internvl_chat.py`.
    pub const fn internvl_v1() -> Self {
        Self { tokens: TokenOrder::Transposed, ..Self::internvl_v2() }
    }

    /// InternVL 2 and later (`ps_version = 'v2'`): 2 x 2, (dy, dx, channel), row by row. `pixel_shuffle` in
    /// OpenGVLab/InternVL, `modeling_internvl_chat.py`.
    pub const fn internvl_v2() -> Self {
        Self { factor: [2, 2], channels: ChannelOrder::PositionFirst, tokens: TokenOrder::RowMajor, pad: false, skip: 0 }
    }

    /// NVLM-D on square tiles (`version = 2`): as InternVL 2. `pixel_shuffle` in NVIDIA/Megatron-LM,
    /// `megatron/core/models/multimodal/llava_model.py`. (That function's branch for an explicit height and width merges
    /// four tokens that follow each other, which is a reshape.) See [`nvlm_dynamic_resolution`] for packed tiles.
    pub const fn nvlm() -> Self {
        Self::internvl_v2()
    }

    /// Idefics3 and SmolVLM: `scale_factor` x `scale_factor`, (dy, dx, channel). `Idefics3Connector.pixel_shuffle` in
    /// huggingface/transformers, `modeling_idefics3.py`.
    pub const fn idefics3(scale_factor: u32) -> Self {
        Self { factor: [scale_factor, scale_factor], ..Self::internvl_v2() }
    }

    /// Llama 4: 2 x 2 (`pixel_shuffle_ratio = 0.5`), (dy, dx, channel). `pixel_shuffle` in huggingface/transformers,
    /// `modeling_llama4.py`.
    pub const fn llama4() -> Self {
        Self::internvl_v2()
    }

    /// Mistral 3 and Pixtral: 2 x 2 (`spatial_merge_size`), (channel, dy, dx) as `F.unfold`. `Mistral3PatchMerger` in
    /// huggingface/transformers, `modeling_mistral3.py`. See [`mistral3_packed`] for images packed behind each other.
    pub const fn mistral3() -> Self {
        Self { channels: ChannelOrder::ChannelFirst, ..Self::internvl_v2() }
    }

    /// DeepSeek-VL2 and DeepSeek-OCR (`downsample_mlp_gelu`): 2 x 2, (channel, dy, dx) as `F.unfold`, after padding with
    /// zeros at the right and at the bottom. `MlpProjector` in deepseek-ai/DeepSeek-OCR, `deepencoder/build_linear.py`.
    pub const fn deepseek() -> Self {
        Self { pad: true, ..Self::mistral3() }
    }

    /// PyTorch's `nn.PixelUnshuffle(factor)` on planar images: (channel, dy, dx).
    pub const fn pytorch(factor: u32) -> Self {
        Self { factor: [factor, factor], ..Self::mistral3() }
    }
}

/// Qwen2-VL, Qwen2.5-VL and Qwen3-VL: the order in which the image processor emits patches, (block row, block column,
/// dy, dx). The merger then reads `merge * merge` neighbours as one token of as many times the channels:
/// [`Graph::reshape`] to `[B, h * w / merge^2, merge^2 * C]`.
///
/// `x` is `[B, h * w, C]` row by row, of any element type (position ids must go the same way); `grid` is `[h, w]`,
/// multiples of `merge` (`spatial_merge_size`, 2). `Qwen2VLImageProcessor` in huggingface/transformers. Frames of a
/// video are entries of the batch.
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
pub fn nvlm_dynamic_resolution(graph: &mut Graph, x: Tensor, tiles: &[[u32; 2]], k: u32) -> Result<Tensor, Error> {
    let whole = |n: &u32| k != 0 && n.is_multiple_of(k);
    if !tiles.iter().flatten().all(whole) {
        let (expected, actual) = (format!("sizes that are multiples of {k}"), format!("{tiles:?}"));
        return Err(Error::Value { argument: "nvlm_dynamic_resolution: tiles", expected, actual });
    }
    packed(graph, x, tiles, k, "nvlm_dynamic_resolution: x", "nvlm_dynamic_resolution: k")
}

/// Mistral 3 and Pixtral on images of different sizes packed behind each other: each by itself, `merge` x `merge`,
/// (channel, dy, dx), row by row.
///
/// `x` is `[B, sum of h * w, C]`; `images` are the `[h, w]` of the images in their order. With `merge` (`spatial_merge_size`, 2)
/// it gives `[B, sum of floor(h / merge) * floor(w / merge), merge^2 * C]`: rows and columns that fill no block are dropped, as
/// `F.unfold` does. `Mistral3PatchMerger` in huggingface/transformers, `modeling_mistral3.py`. Two dispatches.
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
    let mut index = Vec::new();
    let mut first = 0u64;
    for &[h, w] in images {
        first += u64::from(h) * u64::from(w);
        if first > u64::from(tokens) {
            break;
        }
        let start = (first - u64::from(h) * u64::from(w)) as u32;
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
