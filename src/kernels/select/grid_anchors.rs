//! Tokens of a grid that their neighbours predict.

use crate::checks::expect;
use crate::compare::{Comparison, Worst};
use crate::device::{BindingElem, Call, Header, Include, Lowering, Shader, Slot, params};
use crate::error::Error;
use crate::graph::{Graph, Kernel, Tensor};
use crate::kernels::Distance;
use crate::kernels::operands::{lengths_or_full, steps_of_dispatch};
use crate::options;
use crate::reference::{self, GridRow};
use crate::tensor::{Desc, Elem, HostTensor};

params! {
    struct Params {
        batch: u32,
        tokens: u32,
        /// Tokens of a row of the grid.
        width: u32,
        /// Tokens of this dispatch.
        first: u32,
        last: u32,
        /// In elems.
        channels: u32,
        /// Channels as a divisor.
        count: f32,
        threshold: f32,
    }
}

pub(super) static GRID_ANCHORS: Shader = Shader {
    name: "grid_anchors",
    source: include_str!("../../../shaders/select/grid_anchors.wgsl"),
    includes: &[Include::Order],
    headers: &[Header::F32, Header::F16, Header::F32x4, Header::F16x4],
    inputs: &[("x", BindingElem::Elem), ("lengths", BindingElem::U32)],
    outputs: &[("anchor", BindingElem::U32)],
    params: Params::NAMES,
    tunings: &[&[("MEASURE", 0)], &[("MEASURE", 1)], &[("MEASURE", 2)]],
};

/// Says which tokens of a grid are predicted by a neighbour, and what stands for them: the predictor LOCO-I of JPEG-LS on tokens.
///
/// ```text
/// a, b, c: what stands for the token to the left, above, and above to the left
/// prediction = b if near(c, a) and not near(c, b), else a          in the first row a, in the first column b
/// anchor_i = the prediction if near(x_i, prediction), else i       near: their distance is at most the threshold
/// ```
///
/// So no token is farther than the threshold from what stands for it. Weinberger, Seroussi and Sapiro, "The LOCO-I lossless image
/// compression algorithm" (IEEE Transactions on Image Processing, 2000), in the form of PixelPrune.
///
/// Cost: a walk along each batch row, linear in N, of one workgroup: `12 B N C` operations, four reads of a row for each token, three of them
/// mostly from cache. One dispatch for each 1000 tokens or so.
///
/// ```
/// use tokenpress::kernels::GridAnchors;
/// use tokenpress::{Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// // A grid of two rows.
/// let x = graph.constant(HostTensor::f32([1, 6, 1], vec![0.0, 0.0, 5.0, 0.0, 0.5, 5.0]));
/// let anchors = GridAnchors { width: 3, threshold: 0.5, ..Default::default() }.build(&mut graph, x, None)?;
/// graph.output("anchors", anchors)?;
/// assert_eq!(graph.run_reference(&[].into())?["anchors"].integers(), [0, 0, 2, 0, 0, 2]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[doc(alias("loco", "jpeg_ls", "predictor"))]
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GridAnchors {
    /// Tokens of a row of the grid, at least 1.
    pub width: u32,
    /// How far two tokens are apart.
    pub measure: Distance,
    /// The largest distance of tokens that are near; not NaN.
    pub threshold: f32,
}

/// Equal tokens of one row.
impl Default for GridAnchors {
    fn default() -> Self {
        Self { width: 1, measure: Distance::Largest, threshold: 0.0 }
    }
}

impl GridAnchors {
    /// What stands for each token of `x` `[B, N, C]`, f32, f16 or bf16: u32 `[B, N]`, [`NONE`](crate::NONE) for dead tokens. The first
    /// `lengths[b]` (u32 `[B]`, all for `None`) are alive.
    ///
    /// A token with a NaN or an infinity stands for itself, and predicts nothing.
    pub fn build(self, graph: &mut Graph, x: Tensor, lengths: Option<Tensor>) -> Result<Tensor, Error> {
        let [batch, tokens, _] = x.shape().exactly("grid_anchors: x", "[B, N, C]")?;
        let lengths = lengths_or_full(graph, lengths, batch, tokens);
        Ok(graph.call(self, &[x, lengths])?[0])
    }

    /// `of` the tokens of every batch row.
    fn each<T>(&self, inputs: &[&HostTensor], mut of: impl FnMut(usize, &GridRow<'_>) -> Vec<T>) -> Vec<T> {
        let [batch, tokens, channels] = inputs[0].dims();
        let x = inputs[0].floats();
        let row = |b: usize| GridRow {
            x: &x[b * tokens * channels..][..tokens * channels],
            tokens,
            channels,
            width: self.width as usize,
            live: tokens.min(inputs[1].integers()[b] as usize),
            measure: self.measure,
            threshold: self.threshold,
        };
        (0..batch).flat_map(|b| of(b, &row(b))).collect()
    }
}

impl Kernel for GridAnchors {
    fn name(&self) -> &'static str {
        "grid_anchors"
    }

    fn output_names(&self) -> &'static [&'static str] {
        &["anchor"]
    }

    fn outputs(&self, inputs: &[Desc]) -> Result<Vec<Desc>, Error> {
        let [batch, tokens, _] = inputs[0].shape.exactly("grid_anchors: x", "[B, N, C]")?;
        if !inputs[0].elem.is_float() {
            return Err(Error::Elem { argument: "grid_anchors: x", expected: "f32, f16 or bf16", actual: inputs[0].elem });
        }
        expect("grid_anchors: lengths", inputs[1], Desc::new([batch], Elem::U32))?;
        options::within("grid_anchors: width", 1..=u32::MAX, self.width)?;
        options::threshold("grid_anchors: threshold", self.threshold)?;
        Ok(vec![Desc::new([batch, tokens], Elem::U32)])
    }

    fn reference(&self, inputs: &[&HostTensor]) -> Vec<HostTensor> {
        let [batch, tokens, _] = inputs[0].dims();
        vec![HostTensor::u32([batch as u32, tokens as u32], self.each(inputs, |_, row| reference::grid_anchors(row)))]
    }

    fn batched_inputs(&self, _inputs: &[Desc]) -> Option<Vec<bool>> {
        Some(vec![true; 2])
    }

    fn flops(&self, inputs: &[Desc]) -> u64 {
        12 * inputs[0].shape.elements()
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<(), Error> {
        let [batch, tokens, channels] = lowering.input(0).shape.exactly("grid_anchors: x", "[B, N, C]")?;
        let (header, [x]) = lowering.vectors(lowering.input(0).elem, channels, [Slot::Input(0)]);
        let elems = channels / header.width();
        // Each elem has eight loops over its numbers; then 24 sums.
        let tokens_each = steps_of_dispatch(u64::from(elems.div_ceil(128)) * (1 + 8 * u64::from(header.width())) + 26);
        for first in (0..tokens).step_by(tokens_each as usize) {
            lowering.dispatch(Call {
                shader: &GRID_ANCHORS,
                header,
                constants: GRID_ANCHORS.tunings[self.measure as usize],
                slots: &[x, Slot::Input(1), Slot::Output(0)],
                params: Params {
                    batch,
                    tokens,
                    width: self.width,
                    first,
                    last: first.saturating_add(tokens_each).min(tokens),
                    channels: elems,
                    count: channels.max(1) as f32,
                    threshold: self.threshold,
                },
                groups: u64::from(batch),
            })?;
        }
        Ok(())
    }

    /// An answer is right if it is one of those that rounding leaves open, by what was answered for the tokens before.
    fn compare(&self, inputs: &[&HostTensor], expected: &[HostTensor], actual: &[HostTensor]) -> Vec<Comparison> {
        let (anchors, expected_anchors) = (actual[0].integers(), expected[0].integers());
        let right = self.each(inputs, |b, row| {
            let anchors = &anchors[b * row.tokens..][..row.tokens];
            // What stands for a token is a token before it, or it.
            let sound = |token: usize| anchors[..token].iter().enumerate().all(|(i, anchor)| *anchor as usize <= i);
            let live = row.live;
            (0..row.tokens).map(|token| sound(token.min(live)) && row.answers(anchors, token, true).contains(&anchors[token])).collect()
        });
        let judge = |index: usize| {
            let number = f64::from(anchors[index]);
            let expected = if right[index] { number } else { f64::from(expected_anchors[index]) };
            Worst { index, expected, actual: number, bound: 0.0 }
        };
        vec![Comparison::judged(&expected[0], &actual[0], judge)]
    }
}
