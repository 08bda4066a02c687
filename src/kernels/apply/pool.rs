//! Windows of a grid of tokens, each reduced to one token.

use crate::checks::expect;
use crate::compare::Comparison;
use crate::device::{BindingElem, Call, Header, Include, Lowering, Shader, Slot, params};
use crate::error::Error;
use crate::graph::{Graph, Kernel, Tensor};
use crate::kernels::operands::{flat, grid_of_floats, lengths_or_full};
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
        dilation_y: u32,
        dilation_x: u32,
        before_y: u32,
        before_x: u32,
        after_y: u32,
        after_x: u32,
        is_partial: u32,
        counts_padding: u32,
    }
}

pub(super) static POOL: Shader = Shader {
    name: "pool",
    source: include_str!("../../../shaders/apply/pool.wgsl"),
    includes: &[Include::Order, Include::ElemOrder, Include::Interpolation],
    headers: &[Header::F32, Header::F16, Header::F32x4, Header::F16x4],
    inputs: &[("x", BindingElem::Elem), ("lengths", BindingElem::U32)],
    outputs: &[("pooled", BindingElem::Elem)],
    params: Params::NAMES,
    tunings: &[
        &[("WINDOWS", 0), ("REDUCE", 0)],
        &[("WINDOWS", 1), ("REDUCE", 0)],
        &[("WINDOWS", 2), ("REDUCE", 0)],
        &[("WINDOWS", 3), ("REDUCE", 0)],
        &[("WINDOWS", 4), ("REDUCE", 0)],
        &[("WINDOWS", 5), ("REDUCE", 0)],
        &[("WINDOWS", 6), ("REDUCE", 0)],
        &[("WINDOWS", 0), ("REDUCE", 1)],
        &[("WINDOWS", 1), ("REDUCE", 1)],
        &[("WINDOWS", 2), ("REDUCE", 1)],
        &[("WINDOWS", 4), ("REDUCE", 1)],
    ],
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
    /// Strided windows over a grid with padding, or whose places lie apart.
    Padded(PaddedWindows),
}

/// Strided windows as PyTorch's `AvgPool2d` and `MaxPool2d`, and ONNX's `AveragePool` and `MaxPool`, have them: with padding, dilation
/// and a last window that is cut. `[rows, columns]` of each number.
///
/// Places of padding are negative infinity to a maximum, and 0 or nothing to an average. The padding after a row with fewer live columns
/// begins where the row ends.
///
/// There are `floor((before + n + after - (size - 1) dilation - 1) / stride) + 1` windows on an axis of n places, and none where n is 0.
///
/// ```
/// use tokenpress::kernels::{PaddedWindows, Pool, Windows};
/// use tokenpress::{Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// // A sequence of four tokens: the mean of each with its neighbours.
/// let x = graph.constant(HostTensor::f32([1, 4, 1], vec![1.0, 2.0, 6.0, 4.0]));
/// let windows = PaddedWindows { before: [0, 1], after: [0, 1], ..PaddedWindows::sequence(3, 1) };
/// let y = Pool::Average(Windows::Padded(windows)).build(&mut graph, x, [1, 4], None)?;
/// graph.output("y", y)?;
/// assert_eq!(graph.run_reference(&[].into())?["y"].floats(), [1.5, 3.0, 4.0, 5.0]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PaddedWindows {
    /// Places of a window.
    pub size: [u32; 2],
    /// Places from a window to the next.
    pub stride: [u32; 2],
    /// From one place of a window to its next.
    pub dilation: [u32; 2],
    /// Padding before the first row and column.
    pub before: [u32; 2],
    /// Padding after the last row and column.
    pub after: [u32; 2],
    /// `ceil` in the place of `floor`: a last window is cut where the padding ends. PyTorch's `ceil_mode`; no window begins in the padding
    /// at the end.
    pub partial: bool,
    /// Whether an average divides by the places and the padding of its window, and not by its places alone: PyTorch's and ONNX's
    /// `count_include_pad`, which is true in PyTorch by default. What is cut off does not count.
    pub count_padding: bool,
}

impl PaddedWindows {
    /// Windows without padding, whose places lie side by side.
    pub const fn new(size: [u32; 2], stride: [u32; 2]) -> Self {
        let (dilation, before, after) = ([1; 2], [0; 2], [0; 2]);
        Self { size, stride, dilation, before, after, partial: false, count_padding: false }
    }

    /// The same of a sequence of tokens, a grid of one row.
    pub const fn sequence(size: u32, stride: u32) -> Self {
        Self::new([1, size], [1, stride])
    }
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
/// aligned:   the same                                       about (i (h - 1) / (outputs - 1), likewise the column)
/// antialias: y = sum over the window of weight x / sum of weight,      weight 1 - |row + 1/2 - (i + 1/2) h / outputs| / max(h / outputs, 1)
///                                                                      times that of the column, where both are above 0
/// ```
///
/// - Averages: sums are in f32, row by row. The average of finite numbers is finite, however large they are.
/// - Maxima are copies. They skip NaN, unlike PyTorch's `max_pool2d`, in which NaN wins; that is on purpose.
/// - Bilinear is PyTorch's `interpolate` with `align_corners=False` and no antialiasing. Positions before the first token are the
///   first, neighbours after the last are left out, and a neighbour of weight 0 is not read. Positions are computed in whole
///   numbers: which tokens are read is exact on every device.
/// - Aligned is PyTorch's `align_corners=True`: the first position is the first token, the last the last. One output is the first token.
/// - Antialiased is PyTorch's `antialias=True`, which makes a grid smaller without gaps. Enlarging is as without it.
/// - A window of padding alone, which dilation makes possible, is negative infinity if it is a maximum, and 0 if it is an average.
///
/// Cost: one dispatch; windows that do not overlap read each element once, and each output is written once. An antialiased output reads
/// about `4 h w / (rows columns)` tokens.
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
    /// The same with aligned corners.
    BilinearAligned([u32; 2]),
    /// The same with antialiasing.
    BilinearAntialiased([u32; 2]),
}

impl Pool {
    /// Pools tokens.
    ///
    /// `x` is f32, f16 or bf16 `[B, h * w, C]`, row by row, or `[B, h, w, C]`; `grid` is `[h, w]`, with `h = 1` for a sequence.
    /// `lengths` u32 `[B]` are the live columns of each row of the grid, all w for `None`; windows end there, and outputs
    /// whose window is dead are 0. Gives `[B, outputs, C]` in x's element type, row by row; see [`Pool::outputs`].
    ///
    /// # Errors
    /// [`Error::Shape`] and [`Error::Elem`] for tensors that are not as above. [`Error::Value`] for sizes, strides or dilations of 0 or
    /// above 2^24, windows that reach farther, padding above 2^24, and for more than `2^30 / (n + 1)` outputs on an axis of n places.
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

    /// The windows that are averaged or of which the largest is taken.
    fn windows(&self) -> Option<Windows> {
        match *self {
            Self::Average(windows) | Self::Max(windows) => Some(windows),
            _ => None,
        }
    }

    /// The windows of the rows and of the columns.
    fn axes(&self) -> [Axis; 2] {
        std::array::from_fn(|i| match *self {
            Self::Average(windows) | Self::Max(windows) => match windows {
                // At least 1, so that the number of windows of sizes that are refused is a number.
                Windows::Strided { size, stride, partial } => Axis::Strided { size: size[i].max(1), stride: stride[i].max(1), partial },
                Windows::Padded(windows) => Axis::Padded {
                    size: windows.size[i].max(1),
                    stride: windows.stride[i].max(1),
                    dilation: windows.dilation[i].max(1),
                    padding: [windows.before[i], windows.after[i]],
                    partial: windows.partial,
                    counted: windows.count_padding,
                },
                Windows::Adaptive { outputs } => Axis::Adaptive { outputs: outputs[i] },
            },
            Self::Bilinear(outputs) => Axis::Linear { outputs: outputs[i] },
            Self::BilinearAligned(outputs) => Axis::Aligned { outputs: outputs[i] },
            Self::BilinearAntialiased(outputs) => Axis::Antialiased { outputs: outputs[i] },
        })
    }

    fn pooling(&self) -> Pooling {
        if matches!(self, Self::Max(_)) { Pooling::Max } else { Pooling::Average }
    }

    /// What would be wrong with windows on this grid: whole numbers of the shader that do not fit 32 bits.
    fn check(&self, grid: [u32; 2]) -> Result<(), Error> {
        let wrong = |argument, expected: &str, actual: String| Err(Error::Value { argument, expected: expected.to_owned(), actual });
        let sizes = |numbers: &[u32]| numbers.iter().all(|n| (1..=1 << 24).contains(n));
        match *self {
            Self::Average(Windows::Strided { size, stride, .. }) | Self::Max(Windows::Strided { size, stride, .. }) => {
                if !sizes(&[size, stride].concat()) {
                    return wrong("pool: windows", "sizes and strides from 1 to 2^24", format!("{size:?} and {stride:?}"));
                }
            }
            Self::Average(Windows::Padded(windows)) | Self::Max(Windows::Padded(windows)) => {
                let PaddedWindows { size, stride, dilation, before, after, .. } = windows;
                let reach = |i: usize| u64::from(size[i].saturating_sub(1)) * u64::from(dilation[i]) < 1 << 24;
                let room = |i: usize| before[i].max(after[i]) <= 1 << 24 && grid[i] <= 1 << 30;
                if !sizes(&[size, stride, dilation].concat()) || !(0..2).all(|i| reach(i) && room(i)) {
                    let expected = "sizes, strides and dilations from 1 to 2^24, and a reach and padding of at most that";
                    return wrong("pool: windows", expected, format!("{windows:?}"));
                }
            }
            Self::Average(Windows::Adaptive { outputs })
            | Self::Max(Windows::Adaptive { outputs })
            | Self::Bilinear(outputs)
            | Self::BilinearAligned(outputs)
            | Self::BilinearAntialiased(outputs) => {
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
        let [batch, channels] = grid_of_floats("pool: x", inputs[0], self.grid)?;
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
        // Once for each element that no window shares; the interpolation multiplies four and adds them. Antialiased, the windows of four
        // outputs share an element, or there are four elements to an output.
        let [rows, columns] = self.pool.outputs(self.grid);
        match *inputs[0].shape.dims() {
            [.., channels] if matches!(self.pool, Pool::BilinearAntialiased(_)) && channels > 0 => 8 * inputs[0].shape.elements(),
            [batch, _, channels] if self.pool.windows().is_none() => {
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
        let plain = PaddedWindows::new([0; 2], [0; 2]);
        let (kind, windows) = match (self.pool.windows(), self.pool) {
            (Some(Windows::Strided { size, stride, partial }), _) => (partial.into(), PaddedWindows::new(size, stride)),
            (Some(Windows::Adaptive { .. }), _) => (2, plain),
            (Some(Windows::Padded(windows)), _) => (4, windows),
            (None, Pool::BilinearAligned(_)) => (5, plain),
            (None, Pool::BilinearAntialiased(_)) => (6, plain),
            (None, _) => (3, plain),
        };
        let reduce = u32::from(matches!(self.pool, Pool::Max(_)));
        let PaddedWindows { size, stride, dilation, before, after, partial, count_padding } = windows;
        lowering.dispatch(Call {
            shader: &POOL,
            header,
            constants: POOL.tuning(&[("WINDOWS", kind), ("REDUCE", reduce)]),
            slots: &[Slot::Input(0), Slot::Input(1), Slot::Output(0)],
            params: Params {
                elements: elements as u32,
                channels: channels / header.width(),
                rows: self.grid[0],
                columns: self.grid[1],
                outputs_y,
                outputs_x,
                size_y: size[0],
                size_x: size[1],
                stride_y: stride[0],
                stride_x: stride[1],
                dilation_y: dilation[0],
                dilation_x: dilation[1],
                before_y: before[0],
                before_x: before[1],
                after_y: after[0],
                after_x: after[1],
                is_partial: partial.into(),
                counts_padding: count_padding.into(),
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
        let padded = |windows: PaddedWindows| Pool::Max(Windows::Padded(windows));
        let two = PaddedWindows::new([2, 2], [1, 1]);
        assert_eq!(padded(PaddedWindows { before: [1, 1], after: [1, 0], ..two }).outputs([3, 4]), [4, 4]);
        for windows in [
            PaddedWindows { dilation: [0, 1], ..two },
            PaddedWindows { before: [1, 1 << 25], ..two },
            PaddedWindows { dilation: [1 << 24, 1], size: [1 << 24, 1], ..two },
            PaddedWindows { size: [0, 0], ..two },
        ] {
            assert!(matches!(padded(windows).build(&mut graph, x, [3, 4], None), Err(Error::Value { .. })));
        }
        let lengths = graph.input("lengths", [3], Elem::U32);
        assert!(matches!(Pool::Bilinear([2, 2]).build(&mut graph, x, [3, 4], Some(lengths)), Err(Error::Shape { .. })));
        let integers = graph.input("integers", [2, 12, 3], Elem::U32);
        assert!(matches!(Pool::Bilinear([2, 2]).build(&mut graph, integers, [3, 4], None), Err(Error::Elem { .. })));
    }
}
