//! Rows without their mean, by their deviation.

use crate::checks::expect;
use crate::compare::Comparison;
use crate::device::{BindingElem, Call, Form, Header, Include, Lowering, Shader, Slot, params};
use crate::error::Error;
use crate::graph::{Graph, Kernel, Tensor};
use crate::kernels::images::pixel_unshuffle::{Direction, Rearrange};
use crate::kernels::operands::flat;
use crate::kernels::{ChannelOrder, PixelUnshuffle, TokenOrder};
use crate::reference;
use crate::tensor::{Desc, Elem, HostTensor};

params! {
    struct Params {
        rows: u32,
        lanes_log2: u32,
        /// Kh kw; 1 without blocks.
        positions: u32,
        /// Of each position, in elems.
        channels: u32,
        factor_rows: u32,
        factor_columns: u32,
        block_rows: u32,
        block_columns: u32,
        /// The blocks are column by column.
        transposed: u32,
        grid_rows: u32,
        grid_columns: u32,
        skip: u32,
        weighted: u32,
        biased: u32,
        /// Of epsilon's root, biased by 127.
        root_exponent: u32,
        count: f32,
        /// A power of two above count, and.
        shares: f32,
        /// What it is the inverse of.
        share: f32,
        epsilon: f32,
    }
}

pub(super) static LAYER_NORM: Shader = Shader {
    name: "layer_norm",
    source: include_str!("../../../shaders/layers/layer_norm.wgsl"),
    includes: &[Include::Ahead, Include::LaneSums, Include::Order],
    headers: &[Header::F32, Header::F16, Header::F32x4, Header::F16x4],
    inputs: &[("x", BindingElem::Elem), ("weight", BindingElem::Elem), ("bias", BindingElem::Elem)],
    outputs: &[("y", BindingElem::Elem)],
    params: Params::NAMES,
    tunings: &[&[("CENTRED", 0)], &[("CENTRED", 1)]],
};

/// How many `elem` of a row an invocation takes, where 8 to 128 invocations a row allow it.
const MOVES: u32 = 32;

/// The same on a GPU: all of them are under way at once.
const MOVES_GPU: u32 = 4;

/// LayerNorm and RMSNorm: `y_c = (x_c - mean) / sqrt(mean_c (x_c - mean)^2 + epsilon) * weight_c + bias_c`.
///
/// See `https://arxiv.org/abs/1607.06450` (LayerNorm) and `https://arxiv.org/abs/1910.07467` (RMSNorm, which takes the mean as 0).
///
/// A row whose numbers are all equal gives the bias of a LayerNorm. A NaN or an infinity makes its own row NaN. Every finite row is
/// right, however large: what would leave the range of f32 on the way is multiplied by a power of two first. Denormals may be read as 0.
///
/// Cost: one dispatch; x is read once from memory and twice from cache (RMSNorm: once, for most rows), and written once.
///
/// ```
/// use tokenpress::kernels::LayerNorm;
/// use tokenpress::{Elem, Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// let x = graph.input("x", [1, 4], Elem::F32);
/// let y = LayerNorm::new(1e-12).build(&mut graph, x, None, None)?;
/// graph.output("y", y)?;
/// let x = HostTensor::f32([1, 4], vec![1.0, 5.0, 1.0, 5.0]);
/// assert_eq!(graph.run_reference(&[("x".to_owned(), x)].into())?["y"].floats(), [-1.0, 1.0, -1.0, 1.0]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[doc(alias("layernorm", "rmsnorm", "layer_norm", "rms_norm"))]
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LayerNorm {
    /// Whether the mean is taken off, as LayerNorm does and RMSNorm does not.
    pub subtract_mean: bool,
    /// Added to the variance, above 0: 1e-5 in PyTorch, 1e-6 in timm, 1e-12 in BERT.
    pub epsilon: f32,
}

/// PyTorch's.
impl Default for LayerNorm {
    fn default() -> Self {
        Self { subtract_mean: true, epsilon: 1e-5 }
    }
}

/// The call, and which of its inputs are there.
#[derive(Debug, Clone, Copy)]
struct Normalize {
    norm: LayerNorm,
    /// The rows are such blocks of x.
    blocks: Option<Rearrange>,
    weighted: bool,
    biased: bool,
}

impl LayerNorm {
    /// LayerNorm with this epsilon.
    pub fn new(epsilon: f32) -> Self {
        Self { subtract_mean: true, epsilon }
    }

    /// RMSNorm with this epsilon.
    pub fn root_mean_square(epsilon: f32) -> Self {
        Self { subtract_mean: false, epsilon }
    }

    /// Adds the call. `x` is `[.., C]`, f32, f16 or bf16. `weight` and `bias` are `[C]` of the same element type. The result has x's
    /// shape and element type. Sums are in f32. No row is left out: dead tokens' rows are scaled like any other.
    ///
    /// # Errors
    /// [`Error::Shape`] and [`Error::Elem`] for other tensors, [`Error::Value`] for an epsilon that is not above 0.
    pub fn build(self, graph: &mut Graph, x: Tensor, weight: Option<Tensor>, bias: Option<Tensor>) -> Result<Tensor, Error> {
        self.call(graph, None, x, weight, bias)
    }

    /// The old name of `build`.
    #[deprecated(note = "it is `build` now, as everywhere")]
    pub fn apply(self, graph: &mut Graph, x: Tensor, weight: Option<Tensor>, bias: Option<Tensor>) -> Result<Tensor, Error> {
        self.build(graph, x, weight, bias)
    }

    /// The same of the blocks of an image of tokens, as [`PixelUnshuffle::unshuffle_tokens`] would give them, in the one dispatch.
    ///
    /// `x` is `[B, skip + h * w, C]`, or `[B, h, w, C]` where nothing is skipped; `weight` and `bias` are `[kh * kw * C]`. Gives
    /// `[B, ceil(h / kh) * ceil(w / kw), kh * kw * C]`.
    ///
    /// # Errors
    /// Those of both, and [`Error::Value`] for [`ChannelOrder::ChannelFirst`], whose channels lie apart.
    pub fn apply_to_blocks(
        self,
        graph: &mut Graph,
        blocks: PixelUnshuffle,
        x: Tensor,
        grid: [u32; 2],
        weight: Option<Tensor>,
        bias: Option<Tensor>,
    ) -> Result<Tensor, Error> {
        if blocks.channels == ChannelOrder::ChannelFirst {
            let (expected, actual) = ("PositionFirst".to_owned(), "ChannelFirst".to_owned());
            return Err(Error::Value { argument: "layer_norm: channels", expected, actual });
        }
        let x = flat(graph, x, grid)?;
        let blocks = Rearrange { options: blocks, size: grid, planar: false, direction: Direction::Unshuffle };
        self.call(graph, Some(blocks), x, weight, bias)
    }

    fn call(
        self,
        graph: &mut Graph,
        blocks: Option<Rearrange>,
        x: Tensor,
        weight: Option<Tensor>,
        bias: Option<Tensor>,
    ) -> Result<Tensor, Error> {
        let inputs: Vec<_> = [Some(x), weight, bias].into_iter().flatten().collect();
        Ok(graph.call(Normalize { norm: self, blocks, weighted: weight.is_some(), biased: bias.is_some() }, &inputs)?[0])
    }
}

/// The exponent, biased by 127, of the root of an epsilon, which is a normal number.
fn root_exponent(epsilon: f32) -> u32 {
    ((epsilon.to_bits() >> 23) + 127) / 2
}

/// Rows and channels.
fn dimensions(x: Desc) -> Result<[u32; 2], Error> {
    let (channels, outer) = x.shape.dims().split_last().unwrap_or((&0, &[]));
    let rows = outer.iter().try_fold(1u32, |rows, d| rows.checked_mul(*d));
    let rows = rows.ok_or(Error::Shape { argument: "layer_norm: x", expected: "fewer than 2^32 rows".to_owned(), actual: x.shape })?;
    Ok([rows, *channels])
}

impl Normalize {
    /// The rows: x, or its blocks.
    fn rows(&self, x: &HostTensor) -> HostTensor {
        self.blocks.map_or_else(|| x.clone(), |blocks| blocks.reference(&[x]).swap_remove(0))
    }

    /// Weight and bias.
    fn affine(&self, inputs: &[&HostTensor]) -> [Option<Vec<f32>>; 2] {
        let weight = self.weighted.then(|| inputs[1].floats());
        let bias = self.biased.then(|| inputs[1 + usize::from(self.weighted)].floats());
        [weight, bias]
    }

    fn scale<'a>(&self, rows: &HostTensor, [weight, bias]: &'a [Option<Vec<f32>>; 2]) -> reference::RowScale<'a> {
        reference::RowScale {
            channels: rows.shape().dims().last().map_or(0, |c| *c as usize),
            subtract_mean: self.norm.subtract_mean,
            epsilon: self.norm.epsilon,
            weight: weight.as_deref(),
            bias: bias.as_deref(),
        }
    }
}

impl Kernel for Normalize {
    fn name(&self) -> &'static str {
        "layer_norm"
    }

    fn output_names(&self) -> &'static [&'static str] {
        &["y"]
    }

    fn outputs(&self, inputs: &[Desc]) -> Result<Vec<Desc>, Error> {
        let x = match self.blocks {
            Some(blocks) => blocks.outputs(&inputs[..1])?[0],
            None => inputs[0],
        };
        let [_, channels] = dimensions(x)?;
        if !x.elem.is_float() {
            return Err(Error::Elem { argument: "layer_norm: x", expected: "f32, f16 or bf16", actual: x.elem });
        }
        let names = [self.weighted.then_some("layer_norm: weight"), self.biased.then_some("layer_norm: bias")];
        for (argument, desc) in names.into_iter().flatten().zip(&inputs[1..]) {
            expect(argument, *desc, Desc::new([channels], x.elem))?;
        }
        // A NaN is refused too.
        if !(self.norm.epsilon >= f32::MIN_POSITIVE && self.norm.epsilon.is_finite()) {
            let actual = self.norm.epsilon.to_string();
            return Err(Error::Value { argument: "layer_norm: epsilon", expected: "a normal number above 0".to_owned(), actual });
        }
        Ok(vec![x])
    }

    fn reference(&self, inputs: &[&HostTensor]) -> Vec<HostTensor> {
        let (rows, affine) = (self.rows(inputs[0]), self.affine(inputs));
        let y = reference::layer_norm(&rows.floats(), &self.scale(&rows, &affine));
        vec![HostTensor::from_floats(rows.desc(), y.into_iter().map(|v| v as f32).collect())]
    }

    fn compare(&self, inputs: &[&HostTensor], expected: &[HostTensor], actual: &[HostTensor]) -> Vec<Comparison> {
        let (rows, affine) = (self.rows(inputs[0]), self.affine(inputs));
        let (x, scale) = (rows.floats(), self.scale(&rows, &affine));
        let bounds = reference::layer_norm_bound(&x, &scale, rows.desc().elem);
        vec![Comparison::ranged(&expected[0], &actual[0], &reference::layer_norm(&x, &scale), &bounds)]
    }

    fn batched_inputs(&self, inputs: &[Desc]) -> Option<Vec<bool>> {
        // A single row is not cut.
        (inputs[0].shape.dims().len() > 1).then(|| (0..inputs.len()).map(|i| i == 0).collect())
    }

    fn flops(&self, inputs: &[Desc]) -> u64 {
        8 * self.outputs(inputs).map_or(0, |y| y[0].shape.elements())
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<(), Error> {
        let y = lowering.output(0);
        let [rows, count] = dimensions(y)?;
        let nothing = lowering.scratch(0, Elem::F32);
        let weight = if self.weighted { Slot::Input(1) } else { nothing };
        let bias = if self.biased { Slot::Input(1 + usize::from(self.weighted)) } else { nothing };
        let slots = [Slot::Input(0), weight, bias, Slot::Output(0)];
        // Without blocks the rows are those of a grid of one column.
        let one = PixelUnshuffle { factor: [1, 1], ..PixelUnshuffle::default() };
        let (blocks, [grid_rows, grid_columns]) = self.blocks.map_or((one, [rows, 1]), |blocks| (blocks.options, blocks.size));
        let [factor_rows, factor_columns] = blocks.factor;
        let positions = factor_rows * factor_columns;
        let (header, slots) = lowering.vectors(y.elem, count / positions, slots);
        let channels = count / positions / header.width();
        // Above the number of terms: so many of the largest number, rounded, are no infinity.
        let shares = 2.0 * count.next_power_of_two() as f32;
        let moves = if lowering.form(&LAYER_NORM, header) == Form::Staged { MOVES_GPU } else { MOVES };
        let lanes = (positions * channels).div_ceil(moves).next_power_of_two().clamp(8, 128);
        lowering.dispatch(Call {
            shader: &LAYER_NORM,
            header,
            constants: LAYER_NORM.tunings[usize::from(self.norm.subtract_mean)],
            slots: &slots,
            params: Params {
                rows,
                lanes_log2: lanes.trailing_zeros(),
                positions,
                channels,
                factor_rows,
                factor_columns,
                block_rows: grid_rows.div_ceil(factor_rows),
                block_columns: grid_columns.div_ceil(factor_columns),
                transposed: (blocks.tokens == TokenOrder::Transposed).into(),
                grid_rows,
                grid_columns,
                skip: blocks.skip,
                weighted: self.weighted.into(),
                biased: self.biased.into(),
                root_exponent: root_exponent(self.norm.epsilon),
                count: count as f32,
                shares,
                share: 1.0 / shares,
                epsilon: self.norm.epsilon,
            },
            groups: if channels == 0 { 0 } else { u64::from(rows.div_ceil(128 / lanes)) },
        })
    }
}
