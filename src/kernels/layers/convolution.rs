//! Convolutions of a grid of tokens.

use crate::checks::expect;
use crate::compare::Comparison;
use crate::device::{BindingElem, Call, Header, Include, Lowering, Shader, Slot, params};
use crate::error::Error;
use crate::graph::{Graph, Kernel, Tensor};
use crate::kernels::apply::unfold::{Window, dimensions};
use crate::kernels::linear;
use crate::kernels::operands::flat;
use crate::reference;
use crate::tensor::{Desc, Elem, HostTensor};

params! {
    struct Params {
        /// Of y.
        elements: u32,
        channels: u32,
        taps: u32,
        biased: u32,
        height: u32,
        width: u32,
        out_height: u32,
        out_width: u32,
        kernel_width: u32,
        stride_y: u32,
        stride_x: u32,
        padding_y: u32,
        padding_x: u32,
    }
}

pub(super) static CONVOLUTION: Shader = Shader {
    name: "convolution",
    source: include_str!("../../../shaders/layers/convolution.wgsl"),
    includes: &[Include::Window],
    headers: &[Header::F32, Header::F16],
    inputs: &[("x", BindingElem::Elem), ("weight", BindingElem::Elem), ("bias", BindingElem::Elem)],
    outputs: &[("y", BindingElem::Elem)],
    params: Params::NAMES,
    tunings: &[&[]],
};

/// A convolution of a grid of tokens (channels last) with PyTorch's weights: a cross-correlation, zeros beyond the edges.
///
/// ```text
/// dense:      y[b, i, j, o] = sum over (c, dy, dx) of x[b, i sy + dy - py, j sx + dx - px, c] weight[o, c, dy, dx] + bias[o]
/// depthwise:  y[b, i, j, c] = sum over (dy, dx)    of x[b, i sy + dy - py, j sx + dx - px, c] weight[c, 0, dy, dx] + bias[c]
/// ```
///
/// `x` is `[B, h * w, C]` or `[B, h, w, C]`, f32, f16 or bf16; `grid` is `[h, w]`; weight and bias are of x's element type. Gives
/// `[B, places, O]`, places row by row as [`Window::places`] counts them. Sums are in f32.
///
/// Cost: two dispatches and `2 places O C kh kw` operations for a dense one, one dispatch and `2 places C kh kw` operations for a
/// depthwise one. A dense one lays its windows out in memory first, unless they are of one token: `kh kw / (sy sx)` times x.
///
/// ```
/// use tokenpress::kernels::Convolution;
/// use tokenpress::{Elem, Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// let x = graph.input("x", [1, 4, 1], Elem::F32);
/// let weight = graph.constant(HostTensor::f32([1, 1, 2, 2], vec![1.0; 4]));
/// let y = Convolution::default().depthwise(&mut graph, x, [2, 2], weight, None)?;
/// graph.output("y", y)?;
/// let x = HostTensor::f32([1, 4, 1], vec![1.0, 2.0, 3.0, 4.0]);
/// assert_eq!(graph.run_reference(&[("x".to_owned(), x)].into())?["y"].floats(), [10.0]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[doc(alias("conv2d", "depthwise_conv", "patch_embed"))]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Convolution {
    /// From one place of the window to the next, in rows and columns, each at least 1.
    pub stride: [u32; 2],
    /// Zeros above and below, and at the left and the right.
    pub padding: [u32; 2],
}

impl Default for Convolution {
    fn default() -> Self {
        Self { stride: [1, 1], padding: [0, 0] }
    }
}

impl Convolution {
    /// Every output channel from all input channels; `weight` is `[O, C, kh, kw]`, `bias` `[O]`.
    ///
    /// The window's tokens are laid out in memory by [`Window::build`], and then go through one [`linear`]. A window of one
    /// token needs no layout.
    pub fn dense(&self, graph: &mut Graph, x: Tensor, grid: [u32; 2], weight: Tensor, bias: Option<Tensor>) -> Result<Tensor, Error> {
        let (window, [outputs, channels]) = self.window(weight)?;
        let x = flat(graph, x, grid)?;
        let [_, _, given] = dimensions("convolution: x", x.shape(), &window, grid)?;
        if given != channels {
            let expected = format!("[O, {given}, kh, kw]");
            return Err(Error::Shape { argument: "convolution: weight", expected, actual: weight.shape() });
        }
        let single = Window { size: [1, 1], stride: [1, 1], padding: [0, 0] };
        let rows = if window == single { x } else { window.build(graph, x, grid)? };
        let wide = rows.shape().dims()[2];
        let weight = graph.reshape(weight, [outputs, wide])?;
        linear(graph, rows, weight, bias)
    }

    /// Each channel by itself; `weight` is `[C, 1, kh, kw]`, `bias` `[C]`. Weights beside the grid are not looked at.
    pub fn depthwise(&self, graph: &mut Graph, x: Tensor, grid: [u32; 2], weight: Tensor, bias: Option<Tensor>) -> Result<Tensor, Error> {
        let (window, _) = self.window(weight)?;
        let x = flat(graph, x, grid)?;
        let inputs: Vec<_> = [x, weight].into_iter().chain(bias).collect();
        Ok(graph.call(Depthwise { window, grid }, &inputs)?[0])
    }

    /// Rows and columns of the result.
    pub fn places(&self, grid: [u32; 2], weight: Tensor) -> Result<[u32; 2], Error> {
        self.window(weight)?.0.places(grid)
    }

    /// The window of a weight, and the weight's other sizes.
    fn window(&self, weight: Tensor) -> Result<(Window, [u32; 2]), Error> {
        let [outputs, channels, height, width] = weight.shape().exactly("convolution: weight", "[O, C / groups, kh, kw]")?;
        Ok((Window { size: [height, width], stride: self.stride, padding: self.padding }, [outputs, channels]))
    }
}

/// A depthwise convolution.
#[derive(Debug, Clone, Copy)]
struct Depthwise {
    window: Window,
    grid: [u32; 2],
}

impl Kernel for Depthwise {
    fn name(&self) -> &'static str {
        "convolution"
    }

    fn output_names(&self) -> &'static [&'static str] {
        &["y"]
    }

    fn outputs(&self, inputs: &[Desc]) -> Result<Vec<Desc>, Error> {
        let [batch, places, channels] = dimensions("convolution: x", inputs[0].shape, &self.window, self.grid)?;
        let elem = inputs[0].elem;
        if !elem.is_float() {
            return Err(Error::Elem { argument: "convolution: x", expected: "f32, f16 or bf16", actual: elem });
        }
        let [height, width] = self.window.size;
        expect("convolution: weight", inputs[1], Desc::new([channels, 1, height, width], elem))?;
        if let Some(bias) = inputs.get(2) {
            expect("convolution: bias", *bias, Desc::new([channels], elem))?;
        }
        Ok(vec![Desc::new([batch, places, channels], elem)])
    }

    fn reference(&self, inputs: &[&HostTensor]) -> Vec<HostTensor> {
        let [batch, _, channels] = inputs[0].dims();
        let sliding = self.window.sliding(self.grid);
        let [rows, columns] = sliding.places();
        let y = Desc::new([batch, rows * columns, channels].map(|d| d as u32), inputs[0].desc().elem);
        let bias = inputs.get(2).map(|b| b.floats());
        let dims = [batch, channels];
        let sums = reference::depthwise_convolution(&inputs[0].floats(), &inputs[1].floats(), bias.as_deref(), dims, &sliding);
        vec![HostTensor::from_floats(y, sums.into_iter().map(|v| v as f32).collect())]
    }

    fn compare(&self, inputs: &[&HostTensor], expected: &[HostTensor], actual: &[HostTensor]) -> Vec<Comparison> {
        let [batch, _, channels] = inputs[0].dims();
        let (x, weight, bias) = (inputs[0].floats(), inputs[1].floats(), inputs.get(2).map(|b| b.floats()));
        let elem = expected[0].desc().elem;
        let sliding = self.window.sliding(self.grid);
        let exact = reference::depthwise_convolution(&x, &weight, bias.as_deref(), [batch, channels], &sliding);
        let bounds = reference::depthwise_convolution_bound(&x, &weight, bias.as_deref(), [batch, channels], &sliding, elem);
        vec![Comparison::ranged(&expected[0], &actual[0], &exact, &bounds)]
    }

    fn batched_inputs(&self, inputs: &[Desc]) -> Option<Vec<bool>> {
        Some((0..inputs.len()).map(|i| i == 0).collect())
    }

    fn flops(&self, inputs: &[Desc]) -> u64 {
        let outputs = self.outputs(inputs).map_or(0, |y| y[0].shape.elements());
        2 * outputs * u64::from(self.window.taps())
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<(), Error> {
        let [_, _, channels] = dimensions("convolution: x", lowering.input(0).shape, &self.window, self.grid)?;
        let [out_height, out_width] = self.window.places(self.grid)?;
        let Window { size, stride, padding } = self.window;
        let elements = lowering.output(0).shape.elements();
        let biased = lowering.inputs() > 2;
        let bias = if biased { Slot::Input(2) } else { lowering.scratch(0, Elem::F32) };
        lowering.dispatch(Call {
            shader: &CONVOLUTION,
            header: Header::of(lowering.input(0).elem),
            constants: &[],
            slots: &[Slot::Input(0), Slot::Input(1), bias, Slot::Output(0)],
            params: Params {
                elements: elements as u32,
                channels,
                taps: self.window.taps(),
                biased: biased.into(),
                height: self.grid[0],
                width: self.grid[1],
                out_height,
                out_width,
                kernel_width: size[1],
                stride_y: stride[0],
                stride_x: stride[1],
                padding_y: padding[0],
                padding_x: padding[1],
            },
            groups: elements.div_ceil(128),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_tensors_and_windows_are_refused() {
        let mut graph = Graph::new();
        let x = graph.input("x", [2, 12, 4], Elem::F32);
        let mut tensor = |name: &str, shape: [u32; 4], elem| graph.input(name, shape, elem);
        let dense = tensor("dense", [5, 4, 3, 3], Elem::F32);
        let depthwise = tensor("depthwise", [4, 1, 3, 3], Elem::F32);
        let half = tensor("half", [4, 1, 3, 3], Elem::F16);
        let empty = tensor("empty", [4, 1, 0, 3], Elem::F32);
        let bias = graph.input("bias", [3], Elem::F32);
        let [plain, still] = [[1, 1], [0, 1]].map(|stride| Convolution { stride, padding: [1, 1] });
        let beyond = Convolution { padding: [1 << 30, 0], ..plain };
        let mut each = |convolution: Convolution, grid, weight, bias| convolution.depthwise(&mut graph, x, grid, weight, bias).err();
        let shape = |error: Option<Error>, name: &str| matches!(error, Some(Error::Shape { argument, .. }) if argument == name);
        assert!(each(plain, [3, 4], depthwise, None).is_none());
        assert!(shape(each(plain, [4, 4], depthwise, None), "convolution: x"));
        assert!(shape(each(plain, [3, 4], dense, None), "convolution: weight"));
        assert!(shape(each(plain, [3, 4], depthwise, Some(bias)), "convolution: bias"));
        assert!(matches!(each(plain, [3, 4], half, None), Some(Error::Elem { argument: "convolution: weight", .. })));
        for (convolution, weight) in [(still, depthwise), (beyond, depthwise), (plain, empty)] {
            assert!(matches!(each(convolution, [3, 4], weight, None), Some(Error::Value { argument: "window", .. })));
        }
        let mut all = |grid, weight, bias| plain.dense(&mut graph, x, grid, weight, bias).err();
        assert!(all([3, 4], dense, None).is_none());
        assert!(shape(all([3, 5], dense, None), "convolution: x"));
        assert!(shape(all([3, 4], depthwise, None), "convolution: weight"));
        assert!(shape(all([3, 4], dense, Some(bias)), "linear: bias"));
        assert!(shape(all([3, 4], bias, None), "convolution: weight"));
    }
}
