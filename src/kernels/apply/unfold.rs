//! The tokens under a sliding window.

use crate::device::{BindingElem, Call, Header, Include, Lowering, Shader, Slot, params};
use crate::error::Error;
use crate::graph::{Graph, Kernel, Tensor};
use crate::kernels::operands::flat;
use crate::reference::{self, Sliding};
use crate::tensor::{Desc, Element, HostTensor, Shape, with_element};

params! {
    struct Params {
        /// Of y.
        elements: u32,
        channels: u32,
        taps: u32,
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

pub(super) static UNFOLD: Shader = Shader {
    name: "unfold",
    source: include_str!("../../../shaders/apply/unfold.wgsl"),
    includes: &[Include::Window],
    headers: &[Header::F16, Header::U32],
    inputs: &[("x", BindingElem::Elem)],
    outputs: &[("y", BindingElem::Elem)],
    params: Params::NAMES,
    tunings: &[&[]],
};

/// A window that slides over a grid of tokens, `[rows, columns]` each.
///
/// Cost of [`unfold`](Self::unfold): one dispatch. It writes each element of the result once, and reads each that is not padding
/// through the caches. The result has `taps / stride^2` times as many elements as x.
///
/// ```
/// use tokenpress::kernels::Window;
/// use tokenpress::{Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// // One row of three tokens under a window of two.
/// let x = graph.constant(HostTensor::u32([1, 3, 1], vec![1, 2, 3]));
/// let pairs = Window { size: [1, 2], stride: [1, 1], padding: [0, 0] }.build(&mut graph, x, [1, 3])?;
/// graph.output("pairs", pairs)?;
/// assert_eq!(graph.run_reference(&[].into())?["pairs"].integers(), [1, 2, 2, 3]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[doc(alias("im2col", "unfold", "sliding_window"))]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Window {
    /// Its size, at least 1.
    pub size: [u32; 2],
    /// From one place to the next, at least 1.
    pub stride: [u32; 2],
    /// How far it reaches beyond each edge of the grid, where zeros lie.
    pub padding: [u32; 2],
}

impl Window {
    /// Rows and columns of its places on a grid: `floor((size + 2 padding - window) / stride) + 1`, 0 where it does not fit.
    pub fn places(&self, grid: [u32; 2]) -> Result<[u32; 2], Error> {
        let value = |expected: &str| Error::Value { argument: "window", expected: expected.to_owned(), actual: format!("{self:?}") };
        if self.size.contains(&0) || self.stride.contains(&0) {
            return Err(value("a size and a stride of at least 1"));
        }
        if self.size[0].checked_mul(self.size[1]).is_none() {
            return Err(value("fewer than 2^32 tokens"));
        }
        // What lies before the grid has numbers above every size in the shaders.
        let padded = |i: usize| u64::from(grid[i]) + 2 * u64::from(self.padding[i]);
        if padded(0).max(padded(1)) > 1 << 31 {
            return Err(value("a padded grid of at most 2^31 rows and columns"));
        }
        Ok(self.sliding(grid).places().map(|count| count as u32))
    }

    /// The tokens under the window at each of its places: `y[b, place, c * taps + tap] = x[b, token under the tap, c]`, 0 in the
    /// padding, bit for bit. Rows of `taps * C` times a weight `[O, C, kh, kw]` are a convolution.
    ///
    /// `x` is `[B, h * w, C]` or `[B, h, w, C]`, of any element type; `grid` is `[h, w]`. Gives `[B, places, C * kh * kw]`.
    /// Places and taps are counted row by row, in the order of PyTorch's `F.unfold`.
    pub fn build(&self, graph: &mut Graph, x: Tensor, grid: [u32; 2]) -> Result<Tensor, Error> {
        let x = flat(graph, x, grid)?;
        Ok(graph.call(Unfold { window: *self, grid }, &[x])?[0])
    }

    /// The old name of `build`.
    #[deprecated(note = "it is `build` now, as everywhere")]
    pub fn unfold(&self, graph: &mut Graph, x: Tensor, grid: [u32; 2]) -> Result<Tensor, Error> {
        self.build(graph, x, grid)
    }

    pub(crate) fn sliding(&self, grid: [u32; 2]) -> Sliding {
        let [grid, window, stride, padding] = [grid, self.size, self.stride, self.padding].map(|pair| pair.map(|n| n as usize));
        Sliding { grid, window, stride, padding }
    }

    /// Tokens under it.
    pub(crate) fn taps(&self) -> u32 {
        self.size[0].saturating_mul(self.size[1])
    }
}

/// Batch, places and channels of a window on x; an error unless x is the grid's.
pub(crate) fn dimensions(argument: &'static str, x: Shape, window: &Window, grid: [u32; 2]) -> Result<[u32; 3], Error> {
    let wrong = || Error::Shape { argument, expected: format!("[B, {} * {}, C]", grid[0], grid[1]), actual: x };
    let [rows, columns] = window.places(grid)?;
    match *x.dims() {
        [batch, tokens, channels] if u64::from(tokens) == u64::from(grid[0]) * u64::from(grid[1]) => {
            Ok([batch, rows.checked_mul(columns).ok_or_else(wrong)?, channels])
        }
        _ => Err(wrong()),
    }
}

/// A window's places on a grid.
#[derive(Debug, Clone, Copy)]
struct Unfold {
    window: Window,
    grid: [u32; 2],
}

impl Kernel for Unfold {
    fn name(&self) -> &'static str {
        "unfold"
    }

    fn output_names(&self) -> &'static [&'static str] {
        &["y"]
    }

    fn outputs(&self, inputs: &[Desc]) -> Result<Vec<Desc>, Error> {
        let [batch, places, channels] = dimensions("unfold: x", inputs[0].shape, &self.window, self.grid)?;
        let Some(wide) = channels.checked_mul(self.window.taps()) else {
            let expected = "fewer than 2^32 channels under the window".to_owned();
            return Err(Error::Shape { argument: "unfold: x", expected, actual: inputs[0].shape });
        };
        Ok(vec![Desc::new([batch, places, wide], inputs[0].elem)])
    }

    fn reference(&self, inputs: &[&HostTensor]) -> Vec<HostTensor> {
        let [batch, _, channels] = inputs[0].dims();
        let sliding = self.window.sliding(self.grid);
        let [rows, columns] = sliding.places();
        let shape = [batch, rows * columns, channels * sliding.window[0] * sliding.window[1]].map(|d| d as u32);
        let y = with_element!(inputs[0].desc().elem, T => {
            let y = reference::unfold(T::slice(inputs[0]), [batch, channels], &sliding, <T as Element>::ZERO);
            T::tensor(shape.into(), y)
        });
        vec![y]
    }

    fn batched_inputs(&self, _inputs: &[Desc]) -> Option<Vec<bool>> {
        Some(vec![true])
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<(), Error> {
        let [_, _, channels] = dimensions("unfold: x", lowering.input(0).shape, &self.window, self.grid)?;
        let [out_height, out_width] = self.window.places(self.grid)?;
        let Window { size, stride, padding } = self.window;
        let elements = lowering.output(0).shape.elements();
        lowering.dispatch(Call {
            shader: &UNFOLD,
            header: Header::copy(lowering.input(0).elem.size(), 4),
            constants: &[],
            slots: &[Slot::Input(0), Slot::Output(0)],
            params: Params {
                elements: elements as u32,
                channels,
                taps: self.window.taps(),
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
