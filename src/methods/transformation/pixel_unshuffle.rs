//! Pixel unshuffle as the vision-language models use it: one kernel, whose options are each model's order.
//!
//! Some of them call it "pixel shuffle". A class token is not part of the image: where it is still there, set
//! [`PixelUnshuffle::skip`] to 1.

use crate::kernels::{ChannelOrder, PixelUnshuffle, TokenOrder};

/// The options of published models. Each costs one dispatch, whatever the order.
impl PixelUnshuffle {
    /// InternVL 1.x (`ps_version = 'v1'`): 2 x 2, (dy, dx, channel); the blocks follow each other column by column, a
    /// slip that the model was trained with. `pixel_shuffle` in OpenGVLab/InternVL, `modeling_internvl_chat.py`.
    pub const fn internvl_v1() -> Self {
        Self { tokens: TokenOrder::Transposed, ..Self::internvl_v2() }
    }

    /// InternVL 2 and later (`ps_version = 'v2'`): 2 x 2, (dy, dx, channel), row by row. `pixel_shuffle` in
    /// OpenGVLab/InternVL, `modeling_internvl_chat.py`.
    ///
    /// ```
    /// use tokenpress::kernels::PixelUnshuffle;
    /// use tokenpress::{Graph, HostTensor};
    ///
    /// let mut graph = Graph::new();
    /// let x = graph.constant(HostTensor::u32([1, 16, 1], (0..16).collect()));
    /// for (name, model) in [("v1", PixelUnshuffle::internvl_v1()), ("v2", PixelUnshuffle::internvl_v2())] {
    ///     let blocks = model.unshuffle_tokens(&mut graph, x, [4, 4])?;
    ///     graph.output(name, blocks)?;
    /// }
    /// let out = graph.run_reference(&[].into())?;
    /// assert_eq!(out["v2"].integers(), [0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15]);
    /// assert_eq!(out["v1"].integers(), [0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15]);
    /// # Ok::<(), tokenpress::Error>(())
    /// ```
    pub const fn internvl_v2() -> Self {
        Self { factor: [2, 2], channels: ChannelOrder::PositionFirst, tokens: TokenOrder::RowMajor, pad: false, skip: 0 }
    }

    /// NVLM-D on square tiles (`version = 2`): as InternVL 2. `pixel_shuffle` in NVIDIA/Megatron-LM,
    /// `megatron/core/models/multimodal/llava_model.py`. (That function's branch for an explicit height and width merges four
    /// tokens that follow each other, which is a reshape.) For packed tiles see
    /// [`nvlm_dynamic_resolution`](crate::methods::nvlm_dynamic_resolution).
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
    /// huggingface/transformers, `modeling_mistral3.py`. For images packed one after the other see
    /// [`mistral3_packed`](crate::methods::mistral3_packed).
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
