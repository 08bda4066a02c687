//! The projectors of published models.

use crate::error::Error;
use crate::graph::{Graph, Tensor};
use crate::kernels::{Activation, ChannelOrder, LayerNorm, PixelUnshuffle, Pool, Windows, add};
use crate::methods::parts::affine::Affine;
use crate::methods::transformation::join::Join;
use crate::methods::transformation::projector::{Layer, LearnedNorm, Projector};
use crate::tensor::HostTensor;

/// Layers with exact GELU between them, and none after the last.
fn perceptron<const N: usize>(layers: [Affine; N]) -> Vec<Layer> {
    let activation = |i: usize| if i + 1 < N { Activation::Gelu } else { Activation::None };
    layers.into_iter().enumerate().map(|(i, weights)| Layer { weights, activation: activation(i) }).collect()
}

/// The divisors of a number, in a row.
fn divisors(n: u32) -> String {
    let small: Vec<u32> = (1..=n.isqrt()).filter(|d| n.is_multiple_of(*d)).collect();
    let large = small.iter().rev().map(|d| n / d).filter(|large| small.last() != Some(large));
    small.iter().copied().chain(large).map(|d| d.to_string()).collect::<Vec<_>>().join(", ")
}

/// The published models' own.
impl Projector {
    /// InternVL 2 and later (`mlp1`, `https://arxiv.org/abs/2404.16821`): pixel unshuffle 2 x 2, LayerNorm over 4C, two layers.
    /// For 1.x exchange the [`Join`]. OpenGVLab/InternVL, `modeling_internvl_chat.py`.
    pub fn internvl(grid: [u32; 2], norm: Affine, layers: [Affine; 2]) -> Self {
        let norm = Some(LearnedNorm { kind: LayerNorm::default(), weights: norm });
        Self { token_norm: None, join: Join::Blocks(PixelUnshuffle::internvl_v2(), grid), norm, layers: perceptron(layers) }
    }

    /// NVLM-D (`https://arxiv.org/abs/2409.11402`): as [`Projector::internvl`], with layers that have no bias. vLLM, `nvlm_d.py`.
    /// Tags come in front of the tiles later: [`nvlm_tile_tags`](crate::methods::nvlm_tile_tags).
    pub fn nvlm(grid: [u32; 2], norm: Affine, layers: [Tensor; 2]) -> Self {
        Self::internvl(grid, norm, layers.map(|weight| Affine { weight, bias: None }))
    }

    /// Idefics3 (`https://arxiv.org/abs/2408.12637`) and SmolVLM: pixel unshuffle by `scale_factor`, one layer, published without
    /// a bias. huggingface/transformers, `modeling_idefics3.py`.
    pub fn idefics3(grid: [u32; 2], scale_factor: u32, layer: Affine) -> Self {
        let join = Join::Blocks(PixelUnshuffle::idefics3(scale_factor), grid);
        Self { token_norm: None, join, norm: None, layers: perceptron([layer]) }
    }

    /// Llama 4: pixel unshuffle 2 x 2, three layers without biases: `fc1`, `fc2`, and `linear_1` of the projector.
    /// huggingface/transformers, `modeling_llama4.py`.
    pub fn llama4(grid: [u32; 2], layers: [Tensor; 3]) -> Self {
        let layers = perceptron(layers.map(|weight| Affine { weight, bias: None }));
        Self { token_norm: None, join: Join::Blocks(PixelUnshuffle::llama4(), grid), norm: None, layers }
    }

    /// Mistral 3, whose encoder is Pixtral's: RMSNorm of each patch by `norm` `[C]` with the text model's epsilon, unfolded
    /// `merge` x `merge` blocks of the packed `images`, the merging layer without an activation, two layers.
    /// huggingface/transformers, `modeling_mistral3.py`.
    pub fn mistral3(images: Vec<[u32; 2]>, merge: u32, norm: Tensor, epsilon: f32, merging: Tensor, layers: [Affine; 2]) -> Self {
        let weights = Affine { weight: norm, bias: None };
        let token_norm = Some(LearnedNorm { kind: LayerNorm::root_mean_square(epsilon), weights });
        let merging = Layer { weights: Affine { weight: merging, bias: None }, activation: Activation::None };
        let layers = [vec![merging], perceptron(layers)].concat();
        Self { token_norm, join: Join::Packed { order: ChannelOrder::ChannelFirst, images, merge }, norm: None, layers }
    }

    /// Qwen2-VL (`PatchMerger`, `https://arxiv.org/abs/2409.12191`), and Qwen3-VL's last merger: LayerNorm of each patch, `merge`
    /// x `merge` patches that follow each other, two layers. huggingface/transformers, `modeling_qwen2_vl.py`.
    pub fn qwen2_vl(merge: u32, norm: Affine, layers: [Affine; 2]) -> Self {
        let token_norm = Some(LearnedNorm { kind: LayerNorm::new(1e-6), weights: norm });
        // Saturated where it overflows: no sequence is a multiple.
        Self { token_norm, join: Join::Consecutive(merge.saturating_mul(merge)), norm: None, layers: perceptron(layers) }
    }

    /// Qwen2.5-VL (`https://arxiv.org/abs/2502.13923`): as [`Projector::qwen2_vl`], with RMSNorm. huggingface/transformers,
    /// `modeling_qwen2_5_vl.py`.
    pub fn qwen2_5_vl(merge: u32, norm: Tensor, layers: [Affine; 2]) -> Self {
        let weights = Affine { weight: norm, bias: None };
        let token_norm = Some(LearnedNorm { kind: LayerNorm::root_mean_square(1e-6), weights });
        Self { token_norm, ..Self::qwen2_vl(merge, weights, layers) }
    }

    /// Qwen3-VL's mergers of earlier layers (`deepstack`, `use_postshuffle_norm`): the norm is over the channels of all patches
    /// that were joined. huggingface/transformers, `modeling_qwen3_vl.py`.
    pub fn qwen3_vl_deepstack(merge: u32, norm: Affine, layers: [Affine; 2]) -> Self {
        let projector = Self::qwen2_vl(merge, norm, layers);
        Self { token_norm: None, norm: projector.token_norm, ..projector }
    }

    /// Gemma 3 (`https://arxiv.org/abs/2503.19786`): averages of cells of `edge / outputs` rows and columns of the square grid,
    /// RMSNorm with `1 + norm`, one layer without a bias. `norm` is `[C]`; `weight` is `[width, C]`, the published
    /// `mm_input_projection_weight` transposed. 64 x 64 tokens become 16 x 16 (`mm_tokens_per_image` 256).
    /// huggingface/transformers, `modeling_gemma3.py`.
    ///
    /// # Errors
    /// [`Error::Value`] unless `outputs` divides `edge`: other cells would leave another number of tokens than was asked for, as the
    /// published code does without a word (15 of 64 gives 16 x 16).
    pub fn gemma3(graph: &mut Graph, edge: u32, outputs: u32, norm: Tensor, weight: Tensor) -> Result<Self, Error> {
        let Some(cell) = edge.checked_div(outputs).filter(|cell| *cell > 0 && cell * outputs == edge) else {
            let expected = format!("a divisor of {edge}: {}", divisors(edge));
            return Err(Error::Value { argument: "gemma3: outputs", expected, actual: outputs.to_string() });
        };
        let one = graph.constant(HostTensor::f32([1], vec![1.0]));
        let weights = Affine { weight: add(graph, norm, one)?, bias: None };
        Ok(Self {
            token_norm: None,
            join: Join::Pooled(Pool::Average(Windows::cells(cell)), [edge, edge]),
            norm: Some(LearnedNorm { kind: LayerNorm::root_mean_square(1e-6), weights }),
            layers: perceptron([Affine { weight, bias: None }]),
        })
    }
}
