//! Projectors: fewer and wider tokens of a vision encoder, through linear layers to a language model's width.

use super::affine::Affine;
use super::{mistral3_packed, nvlm_dynamic_resolution};
use crate::error::Error;
use crate::graph::{Graph, Tensor};
use crate::kernels::{Activation, ChannelOrder, LayerNorm, PixelUnshuffle, Pool, Windows, add};
use crate::tensor::HostTensor;

/// How tokens `[B, N, C]` become fewer.
#[derive(Debug, Clone, PartialEq)]
pub enum Join {
    /// Blocks of the grid `[h, w]` that each row of the batch is.
    Blocks(PixelUnshuffle, [u32; 2]),
    /// `merge` x `merge` blocks of the images `[h, w]` that lie behind each other in each row of the batch:
    /// [`nvlm_dynamic_resolution`], [`mistral3_packed`].
    Packed {
        /// Order within a block.
        order: ChannelOrder,
        /// Rows and columns of each image.
        images: Vec<[u32; 2]>,
        /// Rows and columns of a block.
        merge: u32,
    },
    /// So many tokens that follow each other: patches in the order of
    /// [`qwen2_vl_patch_order`](super::qwen2_vl_patch_order). Nothing moves.
    Consecutive(u32),
    /// Windows of the grid `[h, w]` that each row of the batch is.
    Pooled(Pool, [u32; 2]),
}

/// A norm over the channels, with its learned weights.
#[derive(Debug, Clone, Copy)]
pub struct Norm {
    /// LayerNorm or RMSNorm, and its epsilon.
    pub kind: LayerNorm,
    /// `[C]`.
    pub weights: Affine,
}

/// A linear layer, and the function of its results.
#[derive(Debug, Clone, Copy)]
pub struct Layer {
    /// `[O, K]`.
    pub weights: Affine,
    /// Of each result.
    pub activation: Activation,
}

/// What is between a vision encoder and a language model.
///
/// ```text
/// joined = join(token norm(x))              y = layers(norm(joined))
/// ```
///
/// The models' own projectors are functions of this type; all of them are exact GELU, where they have an activation. A class
/// token is not part of a grid: take it off first, or let [`PixelUnshuffle::skip`] do it.
///
/// ```
/// use tokenpress::methods::{Affine, Projector};
/// use tokenpress::{Elem, Graph, HostTensor};
/// let mut graph = Graph::new();
/// let x = graph.input("x", [1, 4, 1], Elem::F32);
/// let weight = graph.constant(HostTensor::f32([1, 4], vec![1.0, 10.0, 100.0, 1000.0]));
/// let projector = Projector::idefics3([2, 2], 2, Affine { weight, bias: None });
/// let y = projector.build(&mut graph, x)?.y;
/// graph.output("y", y)?;
/// let x = HostTensor::f32([1, 4, 1], vec![1.0, 2.0, 3.0, 4.0]);
/// assert_eq!(graph.run_reference(&[("x".to_owned(), x)].into())?["y"].floats(), [4321.0]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Projector {
    /// Of each token, before they are joined.
    pub token_norm: Option<Norm>,
    /// How they become fewer.
    pub join: Join,
    /// Of each joined token.
    pub norm: Option<Norm>,
    /// One behind the other.
    pub layers: Vec<Layer>,
}

/// What a [`Projector`] gives.
#[derive(Debug, Clone, Copy)]
pub struct ProjectorOutput {
    /// The tokens after they were joined, `[B, N', C']`.
    pub joined: Tensor,
    /// For the language model, `[B, N', width]`.
    pub y: Tensor,
}

/// Layers with exact GELU between them, and none behind the last.
fn perceptron<const N: usize>(layers: [Affine; N]) -> Vec<Layer> {
    let activation = |i: usize| if i + 1 < N { Activation::Gelu } else { Activation::None };
    layers.into_iter().enumerate().map(|(i, weights)| Layer { weights, activation: activation(i) }).collect()
}

impl Projector {
    /// InternVL 2 and later (`mlp1`, `https://arxiv.org/abs/2404.16821`): pixel unshuffle 2 x 2, LayerNorm over 4C, two layers.
    /// For 1.x exchange the [`Join`]. OpenGVLab/InternVL, `modeling_internvl_chat.py`.
    pub fn internvl(grid: [u32; 2], norm: Affine, layers: [Affine; 2]) -> Self {
        let norm = Some(Norm { kind: LayerNorm::default(), weights: norm });
        Self { token_norm: None, join: Join::Blocks(PixelUnshuffle::internvl_v2(), grid), norm, layers: perceptron(layers) }
    }

    /// NVLM-D (`https://arxiv.org/abs/2409.11402`): as [`Projector::internvl`], with layers that have no bias. vLLM, `nvlm_d.py`.
    /// Tags come in front of the tiles later: [`nvlm_tile_tags`](super::nvlm_tile_tags).
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
        let token_norm = Some(Norm { kind: LayerNorm::root_mean_square(epsilon), weights });
        let merging = Layer { weights: Affine { weight: merging, bias: None }, activation: Activation::None };
        let layers = [vec![merging], perceptron(layers)].concat();
        Self { token_norm, join: Join::Packed { order: ChannelOrder::ChannelFirst, images, merge }, norm: None, layers }
    }

    /// Qwen2-VL (`PatchMerger`, `https://arxiv.org/abs/2409.12191`), and Qwen3-VL's last merger: LayerNorm of each patch, `merge`
    /// x `merge` patches that follow each other, two layers. huggingface/transformers, `modeling_qwen2_vl.py`.
    pub fn qwen2_vl(merge: u32, norm: Affine, layers: [Affine; 2]) -> Self {
        let token_norm = Some(Norm { kind: LayerNorm::new(1e-6), weights: norm });
        // Saturated where it overflows: no sequence is a multiple.
        Self { token_norm, join: Join::Consecutive(merge.saturating_mul(merge)), norm: None, layers: perceptron(layers) }
    }

    /// Qwen2.5-VL (`https://arxiv.org/abs/2502.13923`): as [`Projector::qwen2_vl`], with RMSNorm. huggingface/transformers,
    /// `modeling_qwen2_5_vl.py`.
    pub fn qwen2_5_vl(merge: u32, norm: Tensor, layers: [Affine; 2]) -> Self {
        let weights = Affine { weight: norm, bias: None };
        let token_norm = Some(Norm { kind: LayerNorm::root_mean_square(1e-6), weights });
        Self { token_norm, ..Self::qwen2_vl(merge, weights, layers) }
    }

    /// Qwen3-VL's mergers of earlier layers (`deepstack`, `use_postshuffle_norm`): the norm is over the channels of all patches
    /// that were joined. huggingface/transformers, `modeling_qwen3_vl.py`.
    pub fn qwen3_vl_deepstack(merge: u32, norm: Affine, layers: [Affine; 2]) -> Self {
        let projector = Self::qwen2_vl(merge, norm, layers);
        Self { token_norm: None, norm: projector.token_norm, ..projector }
    }

    /// Gemma 3 (`https://arxiv.org/abs/2503.19786`): averages of whole cells of `floor(edge / outputs)` rows and columns of the
    /// square grid, RMSNorm with `1 + norm`, one layer without a bias. `norm` is `[C]`; `weight` is `[width, C]`, the published
    /// `mm_input_projection_weight` transposed. 64 x 64 tokens become 16 x 16 (`mm_tokens_per_image` 256).
    /// huggingface/transformers, `modeling_gemma3.py`.
    pub fn gemma3(graph: &mut Graph, edge: u32, outputs: u32, norm: Tensor, weight: Tensor) -> Result<Self, Error> {
        let Some(cell) = edge.checked_div(outputs).filter(|cell| *cell > 0) else {
            let expected = format!("1 to {edge} outputs");
            return Err(Error::Value { argument: "gemma3: outputs", expected, actual: outputs.to_string() });
        };
        let one = graph.constant(HostTensor::f32([1], vec![1.0]));
        let weights = Affine { weight: add(graph, norm, one)?, bias: None };
        Ok(Self {
            token_norm: None,
            join: Join::Pooled(Pool::Average(Windows::cells(cell)), [edge, edge]),
            norm: Some(Norm { kind: LayerNorm::root_mean_square(1e-6), weights }),
            layers: perceptron([Affine { weight, bias: None }]),
        })
    }

    /// Projects `x` `[B, N, C]`, f32 or f16; weights are of its type. A dead token goes through like any other.
    ///
    /// # Errors
    /// Those of the join, the norms and the layers, for tensors that do not fit them.
    ///
    /// Cost: one dispatch for each norm and layer, at most two for the join.
    pub fn build(&self, graph: &mut Graph, x: Tensor) -> Result<ProjectorOutput, Error> {
        let x = normalized(graph, x, self.token_norm)?;
        let joined = self.join.build(graph, x)?;
        let mut y = normalized(graph, joined, self.norm)?;
        for layer in &self.layers {
            y = layer.weights.linear(graph, y, layer.activation)?;
        }
        Ok(ProjectorOutput { joined, y })
    }
}

impl Join {
    /// The joined tokens of `x` `[B, N, C]`: `[B, N', C']`.
    pub fn build(&self, graph: &mut Graph, x: Tensor) -> Result<Tensor, Error> {
        match self {
            Self::Blocks(blocks, grid) => blocks.unshuffle_tokens(graph, x, *grid),
            Self::Packed { order: ChannelOrder::PositionFirst, images, merge } => nvlm_dynamic_resolution(graph, x, images, *merge),
            Self::Packed { order: ChannelOrder::ChannelFirst, images, merge } => mistral3_packed(graph, x, images, *merge),
            Self::Pooled(pool, grid) => pool.build(graph, x, *grid, None),
            Self::Consecutive(count) => {
                let [batch, tokens, channels] = x.shape().exactly("projector: x", "[B, N, C]")?;
                match channels.checked_mul(*count) {
                    Some(wide) if *count > 0 && tokens.is_multiple_of(*count) => graph.reshape(x, [batch, tokens / count, wide]),
                    _ => Err(Error::Shape {
                        argument: "projector: x",
                        expected: format!("[B, N, C] with a multiple of {count} tokens, of fewer than 2^32 channels together"),
                        actual: x.shape(),
                    }),
                }
            }
        }
    }
}

fn normalized(graph: &mut Graph, x: Tensor, norm: Option<Norm>) -> Result<Tensor, Error> {
    norm.map_or(Ok(x), |norm| norm.kind.apply(graph, x, Some(norm.weights.weight), norm.weights.bias))
}

#[cfg(test)]
mod tests {
    use super::super::qwen2_vl_patch_order;
    use super::*;
    use crate::tensor::Elem;

    #[test]
    fn patches_that_follow_each_other_are_blocks() {
        let mut graph = Graph::new();
        let x = graph.input("x", [1, 24, 2], Elem::U32);
        let patches = qwen2_vl_patch_order(&mut graph, x, [4, 6], 2).expect("whole blocks");
        let joins = [
            (Join::Consecutive(4), patches),
            (Join::Blocks(PixelUnshuffle::idefics3(2), [4, 6]), x),
            (Join::Packed { order: ChannelOrder::PositionFirst, images: vec![[4, 6]], merge: 2 }, x),
        ];
        for (i, (join, x)) in joins.iter().enumerate() {
            let joined = join.build(&mut graph, *x).expect("whole blocks");
            graph.output(&i.to_string(), joined).expect("a new name");
        }
        let x = HostTensor::u32([1, 24, 2], (0..48).collect());
        let outputs = graph.run_reference(&[("x".to_owned(), x)].into()).expect("the graph's own inputs");
        assert_eq!(outputs["0"], outputs["1"]);
        assert_eq!(outputs["0"], outputs["2"]);
        assert_eq!(outputs["0"].integers()[8..16], [4, 5, 6, 7, 16, 17, 18, 19]);
    }

    #[test]
    fn what_fills_no_block_is_dropped() {
        let mut graph = Graph::new();
        let x = graph.input("x", [1, 12, 1], Elem::U32);
        let join = Join::Packed { order: ChannelOrder::ChannelFirst, images: vec![[3, 2], [1, 3], [0, 7], [1, 3]], merge: 2 };
        assert_eq!(join.build(&mut graph, x).expect("12 tokens").shape(), [1, 1, 4].into());
        let join = Join::Packed { order: ChannelOrder::ChannelFirst, images: vec![[2, 3], [3, 2]], merge: 2 };
        let joined = join.build(&mut graph, x).expect("12 tokens");
        graph.output("joined", joined).expect("a new name");
        let x = HostTensor::u32([1, 12, 1], (0..12).collect());
        let outputs = graph.run_reference(&[("x".to_owned(), x)].into()).expect("the graph's own inputs");
        assert_eq!(outputs["joined"].integers(), [0, 1, 3, 4, 6, 7, 8, 9]);
    }

    #[test]
    fn what_is_refused() {
        let mut graph = Graph::new();
        let x = graph.input("x", [1, 6, 2], Elem::F32);
        for count in [0, 4, u32::MAX] {
            assert!(matches!(Join::Consecutive(count).build(&mut graph, x), Err(Error::Shape { .. })));
        }
        let norm = graph.input("norm", [2], Elem::F32);
        let weight = graph.input("weight", [3, 2], Elem::F32);
        for outputs in [0, 5] {
            assert!(matches!(Projector::gemma3(&mut graph, 4, outputs, norm, weight), Err(Error::Value { .. })));
        }
        let odd = Projector::gemma3(&mut graph, 4, 2, norm, weight).expect("valid options");
        assert!(matches!(odd.build(&mut graph, x), Err(Error::Shape { .. })));
    }
}
