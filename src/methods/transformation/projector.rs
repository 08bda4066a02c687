//! Projectors: fewer and wider tokens of a vision encoder, through linear layers to a language model's width.

use crate::error::Error;
use crate::graph::{Graph, Tensor};
use crate::kernels::{Activation, ChannelOrder, LayerNorm};
use crate::methods::Join;
use crate::methods::parts::affine::Affine;

/// A norm over the channels, with its learned weights: LayerNorm or RMSNorm.
///
/// What [`AttentionScore`](crate::kernels::AttentionScore) makes of its logits is [`kernels::Norm`](crate::kernels::Norm).
#[derive(Debug, Clone, Copy)]
pub struct LearnedNorm {
    /// LayerNorm or RMSNorm, and its epsilon.
    pub kind: LayerNorm,
    /// `[C]`.
    pub weights: Affine,
}

/// What [`LearnedNorm`] was called before.
#[deprecated(note = "it is `LearnedNorm` now: `kernels::Norm` is another type")]
pub type Norm = LearnedNorm;

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
/// The models' own projectors are functions of this type. Their activation, where they have one, is exact GELU. A class token is not part
/// of a grid: take it off first, or let [`PixelUnshuffle::skip`](crate::kernels::PixelUnshuffle::skip) do it.
///
/// Cost: one dispatch for each norm and layer, at most two for the join. Where the norm reads the blocks in place, the join costs none,
/// unless [`joined`](ProjectorOutput::joined) is read too. A layer of K to O channels takes `2 N' K O` operations.
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
#[doc(alias("mlp", "patch_merger"))]
#[derive(Debug, Clone)]
pub struct Projector {
    /// Of each token, before they are joined.
    pub token_norm: Option<LearnedNorm>,
    /// How they become fewer.
    pub join: Join,
    /// Of each joined token.
    pub norm: Option<LearnedNorm>,
    /// One after the other.
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

impl Projector {
    /// Projects `x` `[B, N, C]`, f32, f16 or bf16; weights are of its type. A dead token goes through like any other.
    ///
    /// # Errors
    /// Those of the join, the norms and the layers, for tensors that do not fit them.
    pub fn build(&self, graph: &mut Graph, x: Tensor) -> Result<ProjectorOutput, Error> {
        let x = normalized(graph, x, self.token_norm)?;
        let joined = self.join.build(graph, x)?;
        let mut y = match (&self.join, self.norm) {
            // The norm reads the blocks where they lie: nobody may want them joined.
            (Join::Blocks(blocks, grid), Some(norm)) if blocks.channels == ChannelOrder::PositionFirst => {
                norm.kind.apply_to_blocks(graph, *blocks, x, *grid, Some(norm.weights.weight), norm.weights.bias)?
            }
            (_, norm) => normalized(graph, joined, norm)?,
        };
        for layer in &self.layers {
            y = layer.weights.linear(graph, y, layer.activation)?;
        }
        Ok(ProjectorOutput { joined, y })
    }
}

fn normalized(graph: &mut Graph, x: Tensor, norm: Option<LearnedNorm>) -> Result<Tensor, Error> {
    norm.map_or(Ok(x), |norm| norm.kind.build(graph, x, Some(norm.weights.weight), norm.weights.bias))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::Capabilities;
    use crate::tensor::Elem;

    #[test]
    fn blocks_are_joined_apart_from_their_norm_only_where_somebody_reads_them() {
        for (reads_joined, dispatches) in [(false, 3), (true, 4)] {
            let mut graph = Graph::new();
            let mut affine = |name: &str, [outputs, channels]: [u32; 2]| {
                let weight = graph.input(name, [outputs, channels], Elem::F32);
                Affine { weight, bias: Some(graph.input(&format!("{name} bias"), [outputs], Elem::F32)) }
            };
            let bias = affine("bias of the norm", [32, 1]).bias;
            let layers = [affine("first", [16, 32]), affine("second", [16, 16])];
            let norm = Affine { weight: graph.input("norm", [32], Elem::F32), bias };
            let x = graph.input("x", [2, 24, 8], Elem::F32);
            let output = Projector::internvl([4, 6], norm, layers).build(&mut graph, x).unwrap();
            graph.output("y", output.y).unwrap();
            if reads_joined {
                graph.output("joined", output.joined).unwrap();
            }
            assert_eq!(graph.cost(&Capabilities::portable()).unwrap().dispatches(), dispatches);
        }
    }
}
