//! Honeybee's C-Abstractor: convolutions around a pooling, which keep what lies beside each other together.
//!
//! Cha et al., "Honeybee: Locality-enhanced Projector for Multimodal LLM" (CVPR 2024), `https://arxiv.org/abs/2312.06742`.

use crate::error::Error;
use crate::graph::{Graph, Tensor};
use crate::kernels::{Activation, Pool, Windows, add, concat_rows};
use crate::methods::parts::affine::{Affine, perceptron, repeat};
use crate::methods::transformation::bottleneck::Bottleneck;

/// The C-Abstractor: bottlenecks, adaptive average pooling to the number of tokens wanted, bottlenecks, and layers to the width
/// of the language model.
///
/// Cost: 13 or 15 dispatches for each [`Bottleneck`], one for the pooling, one for each layer of the readout, one for the
/// positions, two for the end. The bottlenecks before the pooling work on all tokens, and cost the most.
///
/// ```
/// use tokenpress::methods::CAbstractor;
/// use tokenpress::{Elem, Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// let x = graph.input("x", [1, 4, 1], Elem::F32);
/// let abstractor = CAbstractor { grid: [2, 2], outputs: [1, 1], ..Default::default() };
/// let y = abstractor.build(&mut graph, x)?.y;
/// graph.output("y", y)?;
/// let x = HostTensor::f32([1, 4, 1], vec![1.0, 2.0, 3.0, 6.0]);
/// assert_eq!(graph.run_reference(&[("x".to_owned(), x)].into())?["y"].floats(), [3.0]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[doc(alias("honeybee", "adaptive_avg_pool2d"))]
#[derive(Debug, Clone, Default)]
pub struct CAbstractor {
    /// Rows and columns of the tokens that come in, without a class token.
    pub grid: [u32; 2],
    /// Rows and columns of those that stay: 12 x 12 in the paper, of 24 x 24.
    pub outputs: [u32; 2],
    /// Added to the tokens, `[1, h * w, C]`.
    pub positions: Option<Tensor>,
    /// Before the pooling: three in the paper.
    pub before: Vec<Bottleneck>,
    /// Behind it.
    pub after: Vec<Bottleneck>,
    /// Linear layers with SiLU between them: two in the paper.
    pub readout: Vec<Affine>,
    /// Tokens that are put after each image, `[1, E, width]`.
    pub end: Option<Tensor>,
}

/// The tokens after each stage of a [`CAbstractor`].
#[derive(Debug, Clone, Copy)]
pub struct CAbstractorOutput {
    /// After the first bottlenecks, `[B, h * w, O]`.
    pub before: Tensor,
    /// After the pooling, `[B, outputs, O]`.
    pub pooled: Tensor,
    /// After the last bottlenecks, `[B, outputs, O]`.
    pub after: Tensor,
    /// For the language model, `[B, outputs + E, width]`.
    pub y: Tensor,
}

impl CAbstractor {
    /// Adds the calls: x is `[B, h * w, C]`.
    pub fn build(&self, graph: &mut Graph, x: Tensor) -> Result<CAbstractorOutput, Error> {
        let mut before = match self.positions {
            Some(positions) => add(graph, x, positions)?,
            None => x,
        };
        for bottleneck in &self.before {
            before = bottleneck.build(graph, before, self.grid)?.y;
        }
        let pooled = Pool::Average(Windows::Adaptive { outputs: self.outputs }).build(graph, before, self.grid, None)?;
        let mut after = pooled;
        for bottleneck in &self.after {
            after = bottleneck.build(graph, after, self.outputs)?.y;
        }
        let mut y = perceptron(graph, after, &self.readout, Activation::Silu)?;
        if let Some(end) = self.end {
            let [batch, _, _] = y.shape().exactly("c_abstractor: readout", "[B, N, C]")?;
            let end = repeat(graph, "c_abstractor: end", end, batch)?;
            (y, _) = concat_rows(graph, (y, None), (end, None))?;
        }
        Ok(CAbstractorOutput { before, pooled, after, y })
    }
}
