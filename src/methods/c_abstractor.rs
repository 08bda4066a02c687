//! Honeybee's C-Abstractor: convolutions around a pooling, which keep what lies beside each other together.
//!
//! Cha et al., "Honeybee: Locality-enhanced Projector for Multimodal LLM" (CVPR 2024), `https://arxiv.org/abs/2312.06742`.

use super::affine::{Affine, repeat};
use crate::error::Error;
use crate::graph::{Graph, Tensor};
use crate::kernels::{
    Activation, Convolution, Elementwise, LayerNorm, Pool, Statistic, Windows, activate, add, concat_rows, multiply, reduce,
};

/// A convolution without a bias and the LayerNorm of the channels of each token behind it.
#[derive(Debug, Clone, Copy)]
pub struct NormalizedConvolution {
    /// `[O, C, 1, 1]`, or depthwise `[C, 1, k, k]` with odd k.
    pub weight: Tensor,
    /// `[O]` each.
    pub norm: Affine,
}

/// A bottleneck of RegNet as Honeybee has it: a depthwise convolution between two of 1 x 1, squeeze and excite, a shortcut.
///
/// ```text
/// conv1 = silu(norm(1 x 1 of x))
/// conv2 = silu(norm(depthwise k x k of conv1))
/// gated = conv2 * sigmoid(excite(silu(squeeze(mean of conv2 over the tokens))))
/// conv3 = norm(1 x 1 of gated)
/// y     = silu(conv3 + x)           or shortcut(x), where the channels change
/// ```
///
/// `Bottleneck` of timm, `regnet.py`; its norms have an epsilon of 1e-5. Cost: 13 dispatches, or 15.
#[derive(Debug, Clone, Copy)]
pub struct Bottleneck {
    /// `[O, C, 1, 1]`.
    pub conv1: NormalizedConvolution,
    /// `[O, 1, k, k]`.
    pub conv2: NormalizedConvolution,
    /// `[R, O]` or `[R, O, 1, 1]`, and `[R]`; R is a quarter of C in Honeybee.
    pub squeeze: Affine,
    /// `[O, R]` or `[O, R, 1, 1]`, and `[O]`.
    pub excite: Affine,
    /// `[O, O, 1, 1]`.
    pub conv3: NormalizedConvolution,
    /// `[O, C, 1, 1]`, where O is not C.
    pub shortcut: Option<NormalizedConvolution>,
}

/// The tokens after each step of a [`Bottleneck`], `[B, h * w, O]`.
#[derive(Debug, Clone, Copy)]
#[allow(missing_docs, reason = "named as in Bottleneck")]
pub struct BottleneckOutput {
    pub conv1: Tensor,
    pub conv2: Tensor,
    pub gated: Tensor,
    pub conv3: Tensor,
    pub y: Tensor,
}

impl NormalizedConvolution {
    fn pointwise(&self, graph: &mut Graph, x: Tensor, grid: [u32; 2]) -> Result<Tensor, Error> {
        let y = Convolution::default().dense(graph, x, grid, self.weight, None)?;
        self.norm.norm(graph, y, LayerNorm::default())
    }

    fn depthwise(&self, graph: &mut Graph, x: Tensor, grid: [u32; 2]) -> Result<Tensor, Error> {
        let [_, _, height, width] = self.weight.shape().exactly("bottleneck: conv2", "[C, 1, k, k]")?;
        let same = Convolution { stride: [1, 1], padding: [height / 2, width / 2] };
        let y = same.depthwise(graph, x, grid, self.weight, None)?;
        self.norm.norm(graph, y, LayerNorm::default())
    }
}

impl Bottleneck {
    /// Adds the calls: x is `[B, h * w, C]`, its grid `[h, w]`.
    pub fn build(&self, graph: &mut Graph, x: Tensor, grid: [u32; 2]) -> Result<BottleneckOutput, Error> {
        let conv1 = self.conv1.pointwise(graph, x, grid)?;
        let conv1 = activate(graph, conv1, Activation::Silu)?;
        let conv2 = self.conv2.depthwise(graph, conv1, grid)?;
        let conv2 = activate(graph, conv2, Activation::Silu)?;
        let mean = reduce(graph, conv2, 1, Statistic::Mean, None)?;
        let squeezed = self.squeeze.linear(graph, mean, Activation::Silu)?;
        let gate = self.excite.linear(graph, squeezed, Activation::Sigmoid)?;
        let [batch, channels] = gate.shape().exactly("bottleneck: gate", "[B, O]")?;
        let gate = graph.reshape(gate, [batch, 1, channels])?;
        let gated = multiply(graph, conv2, gate)?;
        let conv3 = self.conv3.pointwise(graph, gated, grid)?;
        let shortcut = match &self.shortcut {
            Some(shortcut) => shortcut.pointwise(graph, x, grid)?,
            None => x,
        };
        let y = Elementwise { activation: Activation::Silu, ..Default::default() }.apply(graph, conv3, shortcut)?;
        Ok(BottleneckOutput { conv1, conv2, gated, conv3, y })
    }
}

/// The C-Abstractor: bottlenecks, adaptive average pooling to the number of tokens wanted, bottlenecks, and layers to the width
/// of the language model.
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
    /// Tokens that are put behind each image, `[1, E, width]`.
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
        let mut y = after;
        for (i, layer) in self.readout.iter().enumerate() {
            let last = i + 1 == self.readout.len();
            y = layer.linear(graph, y, if last { Activation::None } else { Activation::Silu })?;
        }
        if let Some(end) = self.end {
            let end = repeat(graph, "c_abstractor: end", end, y.shape().dims()[0])?;
            (y, _) = concat_rows(graph, (y, None), (end, None))?;
        }
        Ok(CAbstractorOutput { before, pooled, after, y })
    }
}
