//! Windows of a grid of tokens, each reduced to one token.

use crate::checks::expect;
use crate::compare::Comparison;
use crate::device::{BindingElem, Call, Header, Include, Lowering, Shader, Slot, params};
use crate::error::Error;
use crate::graph::{Graph, Kernel, Tensor};
use crate::kernels::operands::{flat, lengths_or_full};
use crate::reference::{self, Axis, Grids, Pooling};
use crate::tensor::{Desc, Elem, HostTensor};

params! {
    struct Params {
        /// Of the output, in elems.
        elements: u32,
        /// In elems.
        channels: u32,
        rows: u32,
        columns: u32,
        outputs_y: u32,
        outputs_x: u32,
        size_y: u32,
        size_x: u32,
        stride_y: u32,
        stride_x: u32,
        reduce: u32,
    }
}

pub(super) static POOL: Shader = Shader {
    name: "pool",
    source: include_str!("../../../shaders/apply/pool.wgsl"),
    includes: &[Include::Order, Include::ElemOrder],
    headers: &[Header::F32, Header::F16, Header::F32x4, Header::F16x4],
    inputs: &[("x", BindingElem::Elem), ("lengths", BindingElem::U32)],
    outputs: &[("pooled", BindingElem::Elem)],
    params: Params::NAMES,
    tunings: &[&[("WINDOWS", 0)], &[("WINDOWS", 1)], &[("WINDOWS", 2)], &[("WINDOWS", 3)]],
};

/// Where the windows of a grid lie: `[rows, columns]` of each number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Windows {
    /// Windows of one size at multiples of a stride: `floor((n - size) / stride) + 1` of them on an axis of n places, as
    /// PyTorch's `AvgPool2d` and `MaxPool2d`. Places after the last window are dropped.
    Strided {
        /// Places of a window, 1 to 2^24.
        size: [u32; 2],
        /// Places from a window to the next, 1 to 2^24.
        stride: [u32; 2],
        /// `ceil` in the place of `floor`: a last window is cut at the end, and what it has left is averaged. PyTorch's
        /// `ceil_mode`; no window begins after the end, and n places from 1 on have one window at least.
        partial: bool,
    },
    /// So many windows that cover the grid: `floor(i n / outputs) .. ceil((i + 1) n / outputs)`, as PyTorch's
    /// `AdaptiveAvgPool2d`. They overlap where n is no multiple.
    Adaptive {
        /// Number of windows.
        outputs: [u32; 2],
    },
}

impl Windows {
    /// Cells of `edge` x `edge` tokens; rows and columns that fill none are dropped.
    pub const fn cells(edge: u32) -> Self {
        Self::Strided { size: [edge, edge], stride: [edge, edge], partial: false }
    }
}

/// A grid of tokens made smaller: every output is made from a window of it.
///
/// ```text
/// average:   y = sum over the window of x / number of tokens in it
/// max:       y = the largest of each channel; the first of equals; NaN only where all are NaN
/// bilinear:  y = sum over 2 x 2 neighbours of weight x      about ((i + 1/2) h / outputs - 1/2, likewise the column)
/// ```
///
/// - Averages: sums are in f32, row by row. The average of finite numbers is finite, however large they are.
/// - Maxima are copies. They skip NaN, unlike PyTorch's `max_pool2d`, in which NaN wins; that is on purpose.
/// - Bilinear is PyTorch's `interpolate` with `align_corners=False` and no antialiasing. Positions before the first token are the
///   first, neighbours after the last are left out, and a neighbour of weight 0 is not read. Positions are computed in whole
///   numbers: which tokens are read is exact on every device.
///
/// There is no padding. For `avg_pool1d(padding = p)` take [`Convolution::depthwise`](crate::kernels::Convolution::depthwise) with equal
/// weights, which pads with zeros. For `max_pool1d` put rows at both ends with [`concat_rows`](crate::kernels::concat_rows()) first.
///
/// Cost: one dispatch; windows that do not overlap read each element once, and each output is written once.
///
/// ```
/// use tokenpress::kernels::{Pool, Windows};
/// use tokenpress::{Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// // Two rows of four tokens, in cells of 2 x 2.
/// let x = graph.constant(HostTensor::f32([1, 8, 1], vec![1.0, 2.0, 5.0, 6.0, 3.0, 4.0, 7.0, 8.0]));
/// let y = Pool::Average(Windows::cells(2)).build(&mut graph, x, [2, 4], None)?;
/// graph.output("y", y)?;
/// assert_eq!(graph.run_reference(&[].into())?["y"].floats(), [2.5, 6.5]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[doc(alias("avg_pool2d", "max_pool2d", "adaptive_avg_pool2d", "interpolate", "downsample"))]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Pool {
    /// The mean of each window.
    Average(Windows),
    /// The largest of each window.
    Max(Windows),
    /// Interpolated to so many rows and columns.
    Bilinear([u32; 2]),
}

impl Pool {
    /// Pools tokens.
    ///
    /// `x` is f32 or f16 `[B, h * w, C]`, row by row, or `[B, h, w, C]`; `grid` is `[h, w]`, with `h = 1` for a sequence.
    /// `lengths` u32 `[B]` are the live columns of each row of the grid, all w for `None`; windows end there, and outputs
    /// whose window is dead are 0. Gives `[B, outputs, C]` in x's element type, row by row; see [`Pool::outputs`].
    ///
    /// # Errors
    /// [`Error::Shape`] and [`Error::Elem`] for tensors that are not as above. [`Error::Value`] for sizes or strides of 0 or above 2^24,
    /// and for more than `2^30 / (n + 1)` outputs on an axis of n places.
    pub fn build(&self, graph: &mut Graph, x: Tensor, grid: [u32; 2], lengths: Option<Tensor>) -> Result<Tensor, Error> {
        let x = flat(graph, x, grid)?;
        let [batch, _, _] = x.shape().exactly("pool: x", "[B, h * w, C]")?;
        let lengths = lengths_or_full(graph, lengths, batch, grid[1]);
        Ok(graph.call(Call2d { pool: *self, grid }, &[x, lengths])?[0])
    }

    /// Rows and columns of the outputs of a grid of `[h, w]`. For a row with fewer live columns it is what they alone give.
    pub fn outputs(&self, grid: [u32; 2]) -> [u32; 2] {
        let axes = self.axes();
        std::array::from_fn(|i| axes[i].outputs(grid[i]))
    }

    /// The windows of the rows and of the columns.
    fn axes(&self) -> [Axis; 2] {
        std::array::from_fn(|i| match *self {
            Self::Average(Windows::Strided { size, stride, partial }) | Self::Max(Windows::Strided { size, stride, partial }) => {
                // At least 1, so that the number of windows of sizes that are refused is a number.
                Axis::Strided { size: size[i].max(1), stride: stride[i].max(1), partial }
            }
            Self::Average(Windows::Adaptive { outputs }) | Self::Max(Windows::Adaptive { outputs }) => {
                Axis::Adaptive { outputs: outputs[i] }
            }
            Self::Bilinear(outputs) => Axis::Linear { outputs: outputs[i] },
        })
    }

    fn pooling(&self) -> Pooling {
        if matches!(self, Self::Max(_)) { Pooling::Max } else { Pooling::Average }
    }

    /// What would be wrong with windows on this grid: whole numbers of the shader that do not fit 32 bits.
    fn check(&self, grid: [u32; 2]) -> Result<(), Error> {
        let wrong = |argument, expected: &str, actual: String| Err(Error::Value { argument, expected: expected.to_owned(), actual });
        match *self {
            Self::Average(Windows::Strided { size, stride, .. }) | Self::Max(Windows::Strided { size, stride, .. }) => {
                if [size, stride].concat().iter().any(|n| !(1..=1 << 24).contains(n)) {
                    return wrong("pool: windows", "sizes and strides from 1 to 2^24", format!("{size:?} and {stride:?}"));
                }
            }
            Self::Average(Windows::Adaptive { outputs }) | Self::Max(Windows::Adaptive { outputs }) | Self::Bilinear(outputs) => {
                let units = |i: usize| 2 * u128::from(outputs[i]) * (u128::from(grid[i]) + 1);
                if units(0) > 1 << 31 || units(1) > 1 << 31 || u64::from(outputs[0]) * u64::from(outputs[1]) > u64::from(u32::MAX) {
                    let expected = "outputs of which n places have at most 2^30 / (n + 1)";
                    return wrong("pool: outputs", expected, format!("{outputs:?} of {grid:?}"));
                }
            }
        }
        Ok(())
    }
}

/// A call: options, and the grid.
#[derive(Debug, Clone, Copy)]
struct Call2d {
    pool: Pool,
    grid: [u32; 2],
}

impl Call2d {
    fn grids<'a>(&self, x: &'a [f32], inputs: &[&'a HostTensor]) -> Grids<'a> {
        let [_, _, channels] = inputs[0].dims();
        Grids { x, lengths: inputs[1].integers(), size: self.grid, channels, windows: self.pool.axes() }
    }
}

impl Kernel for Call2d {
    fn name(&self) -> &'static str {
        "pool"
    }

    fn output_names(&self) -> &'static [&'static str] {
        &["pooled"]
    }

    fn outputs(&self, inputs: &[Desc]) -> Result<Vec<Desc>, Error> {
        let [batch, tokens, channels] = inputs[0].shape.exactly("pool: x", "[B, h * w, C]")?;
        let [h, w] = self.grid;
        if u64::from(tokens) != u64::from(h) * u64::from(w) {
            let expected = format!("[B, {h} * {w}, C]");
            return Err(Error::Shape { argument: "pool: x", expected, actual: inputs[0].shape });
        }
        if !inputs[0].elem.is_float() {
            return Err(Error::Elem { argument: "pool: x", expected: "f32 or f16", actual: inputs[0].elem });
        }
        expect("pool: lengths", inputs[1], Desc::new([batch], Elem::U32))?;
        self.pool.check(self.grid)?;
        let [rows, columns] = self.pool.outputs(self.grid);
        Ok(vec![Desc::new([batch, rows * columns, channels], inputs[0].elem)])
    }

    fn reference(&self, inputs: &[&HostTensor]) -> Vec<HostTensor> {
        let [rows, columns] = self.pool.outputs(self.grid);
        let [batch, _, channels] = inputs[0].dims();
        let desc = Desc::new([batch as u32, rows * columns, channels as u32], inputs[0].desc().elem);
        let x = inputs[0].floats();
        let pooled = reference::pool(&self.grids(&x, inputs), self.pool.pooling());
        vec![HostTensor::from_floats(desc, pooled.into_iter().map(|v| v as f32).collect())]
    }

    fn compare(&self, inputs: &[&HostTensor], expected: &[HostTensor], actual: &[HostTensor]) -> Vec<Comparison> {
        let x = inputs[0].floats();
        let grids = self.grids(&x, inputs);
        let bounds = reference::pool_bound(&grids, self.pool.pooling(), inputs[0].desc().elem);
        vec![Comparison::ranged(&expected[0], &actual[0], &reference::pool(&grids, self.pool.pooling()), &bounds)]
    }

    fn batched_inputs(&self, _inputs: &[Desc]) -> Option<Vec<bool>> {
        Some(vec![true, true])
    }

    fn flops(&self, inputs: &[Desc]) -> u64 {
        // Once for each element that no window shares; the interpolation multiplies four and adds them.
        let [rows, columns] = self.pool.outputs(self.grid);
        match *inputs[0].shape.dims() {
            [batch, _, channels] if matches!(self.pool, Pool::Bilinear(_)) => {
                8 * u64::from(batch) * u64::from(rows) * u64::from(columns) * u64::from(channels)
            }
            _ => inputs[0].shape.elements(),
        }
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<(), Error> {
        let [_, _, channels] = lowering.input(0).shape.exactly("pool: x", "[B, h * w, C]")?;
        let alignment = lowering.alignment(&[Slot::Input(0), Slot::Output(0)]);
        let header = Header::vector(lowering.input(0).elem, u64::from(channels), alignment);
        let elements = lowering.output(0).bytes() / header.size();
        let [outputs_y, outputs_x] = self.pool.outputs(self.grid);
        let (windows, [size_y, size_x], [stride_y, stride_x]) = match self.pool {
            Pool::Average(Windows::Strided { size, stride, partial }) | Pool::Max(Windows::Strided { size, stride, partial }) => {
                (usize::from(partial), size, stride)
            }
            Pool::Average(Windows::Adaptive { .. }) | Pool::Max(Windows::Adaptive { .. }) => (2, [0; 2], [0; 2]),
            Pool::Bilinear(_) => (3, [0; 2], [0; 2]),
        };
        lowering.dispatch(Call {
            shader: &POOL,
            header,
            constants: POOL.tunings[windows],
            slots: &[Slot::Input(0), Slot::Input(1), Slot::Output(0)],
            params: Params {
                elements: elements as u32,
                channels: channels / header.width(),
                rows: self.grid[0],
                columns: self.grid[1],
                outputs_y,
                outputs_x,
                size_y,
                size_x,
                stride_y,
                stride_x,
                reduce: match self.pool {
                    Pool::Average(_) => 0,
                    Pool::Max(_) => 1,
                    Pool::Bilinear(_) => 2,
                },
            },
            groups: elements.div_ceil(128),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_refused() {
        let mut graph = Graph::new();
        let x = graph.input("x", [2, 12, 3], Elem::F32);
        let strided = |size, stride| Pool::Max(Windows::Strided { size, stride, partial: false });
        assert!(strided([2, 2], [1, 1]).build(&mut graph, x, [3, 4], None).is_ok());
        assert!(matches!(strided([2, 2], [1, 1]).build(&mut graph, x, [4, 4], None), Err(Error::Shape { .. })));
        for (size, stride) in [([0, 2], [1, 1]), ([2, 2], [1, 0]), ([1 << 25, 1], [1, 1])] {
            assert!(matches!(strided(size, stride).build(&mut graph, x, [3, 4], None), Err(Error::Value { .. })));
        }
        for outputs in [[1 << 30, 1], [1 << 20, 1 << 20]] {
            assert!(matches!(Pool::Bilinear(outputs).build(&mut graph, x, [3, 4], None), Err(Error::Value { .. })));
        }
        let lengths = graph.input("lengths", [3], Elem::U32);
        assert!(matches!(Pool::Bilinear([2, 2]).build(&mut graph, x, [3, 4], Some(lengths)), Err(Error::Shape { .. })));
        let integers = graph.input("integers", [2, 12, 3], Elem::U32);
        assert!(matches!(Pool::Bilinear([2, 2]).build(&mut graph, integers, [3, 4], None), Err(Error::Elem { .. })));
    }
}
