//! The bottlenecks of Honeybee's C-Abstractor.

use crate::error::Error;
use crate::graph::{Graph, Tensor};
use crate::kernels::{Activation, Convolution, Elementwise, LayerNorm, Statistic, activate, multiply, reduce};
use crate::methods::parts::affine::Affine;

/// A convolution without a bias and the LayerNorm of the channels of each token after it.
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
/// `Bottleneck` of timm, `regnet.py`; its norms have an epsilon of 1e-5.
///
/// Cost: 13 dispatches, 15 with a shortcut. The two convolutions of 1 x 1 take `2 N C O` and `2 N O^2` operations, the depthwise one
/// `2 N O k^2`.
///
/// ```
/// use tokenpress::methods::{Affine, Bottleneck, NormalizedConvolution};
/// use tokenpress::{Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// let weight = graph.constant(HostTensor::f32([1, 1, 1, 1], vec![1.0]));
/// let gate = Affine { weight, bias: None };
/// let conv = NormalizedConvolution { weight, norm: Affine { weight: graph.reshape(weight, [1])?, bias: None } };
/// let bottleneck = Bottleneck { conv1: conv, conv2: conv, squeeze: gate, excite: gate, conv3: conv, shortcut: None };
/// let x = graph.constant(HostTensor::f32([1, 4, 1], vec![0.0; 4]));
/// let y = bottleneck.build(&mut graph, x, [2, 2])?.y;
/// graph.output("y", y)?;
/// assert_eq!(graph.run_reference(&[].into())?["y"].floats(), [0.0; 4]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[doc(alias("regnet", "squeeze_and_excite"))]
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
        let y = Elementwise { activation: Activation::Silu, ..Default::default() }.build(graph, conv3, shortcut)?;
        Ok(BottleneckOutput { conv1, conv2, gated, conv3, y })
    }
}
