//! Honeybee's D-Abstractor: learned queries that read the image by deformable attention.
//!
//! Cha et al., "Honeybee: Locality-enhanced Projector for Multimodal LLM" (CVPR 2024), `https://arxiv.org/abs/2312.06742`.

use crate::error::Error;
use crate::graph::{Graph, Tensor};
use crate::kernels::{Activation, add, concat_rows};
use crate::methods::parts::affine::{Affine, repeat};
use crate::methods::query::deformable_layer::DeformableLayer;
use crate::methods::query::initial_queries::InitialQueries;

/// The D-Abstractor: Q queries, each with a learned reference point, become the tokens of the image.
///
/// Cost: that of each [`DeformableLayer`]; beside them one linear layer of the tokens where there is an input, one pooling where
/// something is pooled, two copies for the end, one linear layer of the result where there is an output.
///
/// ```
/// use tokenpress::methods::{DAbstractor, InitialQueries};
/// use tokenpress::{Elem, Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// let x = graph.input("x", [1, 4, 1], Elem::F32);
/// let positions = graph.constant(HostTensor::f32([1, 1], vec![0.0]));
/// let reference = graph.constant(HostTensor::f32([1, 2], vec![0.5; 2]));
/// let queries = InitialQueries::PooledContents { positions, outputs: [1, 1] };
/// let y = DAbstractor::new([2, 2], queries, reference).build(&mut graph, x)?.y;
/// graph.output("y", y)?;
/// let x = HostTensor::f32([1, 4, 1], vec![1.0, 2.0, 3.0, 6.0]);
/// assert_eq!(graph.run_reference(&[("x".to_owned(), x)].into())?["y"].floats(), [3.0]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[doc(alias("honeybee", "deformable_attention"))]
#[derive(Debug, Clone)]
pub struct DAbstractor {
    /// Rows and columns of the tokens that come in, without a class token.
    pub grid: [u32; 2],
    /// To the width C of the layers, where the tokens have another.
    pub input: Option<Affine>,
    /// Added to the tokens, `[1, h * w, C]`.
    pub positions: Option<Tensor>,
    /// What the layers begin with.
    pub queries: InitialQueries,
    /// Locations of the queries, f32 `[Q, 2]` or `[1, Q, 2]`: (x, y) as parts of width and height. Learned; at first a uniform grid.
    pub reference: Tensor,
    /// Heads of both kinds of attention.
    pub heads: u32,
    /// Six in the paper.
    pub layers: Vec<DeformableLayer>,
    /// Tokens that are put after each image, `[1, E, C]`.
    pub end: Option<Tensor>,
    /// To the width of the language model, where that is another.
    pub output: Option<Affine>,
}

/// What a [`DAbstractor`] gives.
#[derive(Debug, Clone)]
pub struct DAbstractorOutput {
    /// The queries after each layer, `[B, Q, C]`.
    pub layers: Vec<Tensor>,
    /// For the language model, `[B, Q + E, width]`.
    pub y: Tensor,
}

impl DAbstractor {
    /// Without any layer yet, of 8 heads.
    pub fn new(grid: [u32; 2], queries: InitialQueries, reference: Tensor) -> Self {
        Self { grid, input: None, positions: None, queries, reference, heads: 8, layers: Vec::new(), end: None, output: None }
    }

    /// Adds the calls: x is `[B, h * w, C]`.
    pub fn build(&self, graph: &mut Graph, x: Tensor) -> Result<DAbstractorOutput, Error> {
        let mut image = x;
        if let Some(input) = &self.input {
            image = input.linear(graph, image, Activation::None)?;
        }
        if let Some(positions) = self.positions {
            image = add(graph, image, positions)?;
        }
        let [batch, _, _] = image.shape().exactly("d_abstractor: x", "[B, h * w, C]")?;
        let (contents, positions) = self.queries.of(graph, image, self.grid)?;
        let (mut y, mut layers) = (contents, Vec::new());
        for layer in &self.layers {
            y = layer.build(graph, self, y, positions, image)?;
            layers.push(y);
        }
        if let Some(end) = self.end {
            let end = repeat(graph, "d_abstractor: end", end, batch)?;
            (y, _) = concat_rows(graph, (y, None), (end, None))?;
        }
        if let Some(output) = &self.output {
            y = output.linear(graph, y, Activation::None)?;
        }
        Ok(DAbstractorOutput { layers, y })
    }
}
