//! The mean over all tokens of a function of the cosine to each.

use crate::checks::expect;
use crate::compare::Comparison;
use crate::device::{BindingElem, Call, Header, Include, Lowering, Shader, Slot, params};
use crate::error::Error;
use crate::graph::{Graph, Kernel, Tensor};
use crate::kernels::Normalized;
use crate::kernels::operands::lengths_or_full;
use crate::options;
pub use crate::reference::Affinity;
use crate::reference::{self, Crowd};
use crate::tensor::{Desc, Elem, HostTensor};

params! {
    struct Params {
        /// Of 64 tokens, in the whole batch.
        tiles: u32,
        tokens: u32,
        /// In elems.
        channels: u32,
        /// Margin or width.
        limit: f32,
    }
}

pub(super) static MEAN_AFFINITY: Shader = Shader {
    name: "mean_affinity",
    source: include_str!("../../../shaders/score/mean_affinity.wgsl"),
    includes: &[Include::Order, Include::TileLanes, Include::Products, Include::Tile, Include::RowFacts],
    headers: &[Header::F32, Header::F32x4],
    inputs: &[("unit", BindingElem::Elem), ("norm", BindingElem::F32), ("lengths", BindingElem::U32)],
    outputs: &[("mean", BindingElem::F32)],
    params: Params::NAMES,
    tunings: &[&[("FUNCTION", 0)], &[("FUNCTION", 1)]],
};

/// Means of a function of cosines.
#[derive(Debug, Clone, Copy)]
struct MeanAffinity {
    affinity: Affinity,
}

/// How like each token is to all others: `mean_i = mean_j f(cos(x_i, x_j))` over all live tokens j, i among them. f32 `[B, N]`.
///
/// `normalized` comes from [`row_normalize`](crate::kernels::row_normalize()) on the features `[B, N, C]`. [`Affinity`] has the functions. The
/// first `lengths[b]` tokens are alive (u32 `[B]`, all for `None`).
///
/// - A zero row has cosine 0 to all, itself among them.
/// - A token with a NaN or an infinity has NaN, and does not count for the others.
/// - A dead token has 0.
///
/// Cost: one dispatch, `2 B N^2 C` operations. The matrix of cosines is never in memory.
///
/// ```
/// use tokenpress::kernels::{Affinity, mean_affinity, row_normalize};
/// use tokenpress::{Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// let x = graph.constant(HostTensor::f32([1, 2, 1], vec![2.0, 3.0]));
/// let normalized = row_normalize(&mut graph, x, None)?;
/// let mean = mean_affinity(&mut graph, normalized, Affinity::Elu { margin: 0.5 }, None)?;
/// graph.output("mean", mean)?;
/// assert_eq!(graph.run_reference(&[].into())?["mean"].floats(), [0.5, 0.5]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
///
/// # Errors
/// [`Error::Value`] for a margin that is not finite, and a width below 2^-20 or not finite; errors of shapes and types.
#[doc(alias("energy", "density", "redundancy"))]
pub fn mean_affinity(graph: &mut Graph, normalized: Normalized, affinity: Affinity, lengths: Option<Tensor>) -> Result<Tensor, Error> {
    let [batch, tokens, _] = normalized.unit.shape().exactly("mean_affinity: unit", "[B, N, C]")?;
    affinity.check()?;
    let lengths = lengths_or_full(graph, lengths, batch, tokens);
    Ok(graph.call(MeanAffinity { affinity }, &[normalized.unit, normalized.norm, lengths])?[0])
}

impl Affinity {
    /// Whether its option is in range.
    pub(crate) fn check(self) -> Result<(), Error> {
        match self {
            Self::Elu { margin } => options::finite("mean_affinity: margin", margin),
            Self::Gaussian { width } => options::at_least("mean_affinity: width", 2f64.powi(-20), width.into()),
        }
    }
}

impl MeanAffinity {
    /// The mean of every token and its bound.
    fn each(self, inputs: &[&HostTensor]) -> Vec<(f64, f64)> {
        let [batch, tokens, channels] = inputs[0].dims();
        let (unit, norm) = (inputs[0].floats(), inputs[1].floats());
        let row = |b: usize| Crowd {
            unit: &unit[b * tokens * channels..][..tokens * channels],
            norm: &norm[b * tokens..][..tokens],
            channels,
            live: inputs[2].integers()[b] as usize,
            affinity: self.affinity,
        };
        (0..batch).flat_map(|b| reference::mean_affinity(&row(b))).collect()
    }
}

impl Kernel for MeanAffinity {
    fn name(&self) -> &'static str {
        "mean_affinity"
    }

    fn output_names(&self) -> &'static [&'static str] {
        &["mean"]
    }

    fn outputs(&self, inputs: &[Desc]) -> Result<Vec<Desc>, Error> {
        let [batch, tokens, channels] = inputs[0].shape.exactly("mean_affinity: unit", "[B, N, C]")?;
        expect("mean_affinity: unit", inputs[0], Desc::new([batch, tokens, channels], Elem::F32))?;
        expect("mean_affinity: norm", inputs[1], Desc::new([batch, tokens], Elem::F32))?;
        expect("mean_affinity: lengths", inputs[2], Desc::new([batch], Elem::U32))?;
        Ok(vec![Desc::new([batch, tokens], Elem::F32)])
    }

    fn reference(&self, inputs: &[&HostTensor]) -> Vec<HostTensor> {
        vec![HostTensor::f32(inputs[1].shape(), self.each(inputs).into_iter().map(|(mean, _)| mean as f32).collect())]
    }

    fn batched_inputs(&self, _inputs: &[Desc]) -> Option<Vec<bool>> {
        Some(vec![true; 3])
    }

    fn flops(&self, inputs: &[Desc]) -> u64 {
        2 * inputs[0].shape.elements().saturating_mul(u64::from(inputs[0].shape.dims()[1]))
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<(), Error> {
        let [batch, tokens, channels] = lowering.input(0).shape.exactly("mean_affinity: unit", "[B, N, C]")?;
        let (header, [unit]) = lowering.vectors(Elem::F32, channels, [Slot::Input(0)]);
        let tiles = u64::from(batch) * u64::from(tokens.div_ceil(64));
        let (function, limit) = match self.affinity {
            Affinity::Elu { margin } => (0, margin),
            Affinity::Gaussian { width } => (1, width),
        };
        lowering.dispatch(Call {
            shader: &MEAN_AFFINITY,
            header,
            constants: MEAN_AFFINITY.tunings[function],
            slots: &[unit, Slot::Input(1), Slot::Input(2), Slot::Output(0)],
            params: Params { tiles: tiles as u32, tokens, channels: channels / header.width(), limit },
            groups: tiles,
        })
    }

    fn compare(&self, inputs: &[&HostTensor], expected: &[HostTensor], actual: &[HostTensor]) -> Vec<Comparison> {
        let bounds: Vec<f64> = self.each(inputs).into_iter().map(|(_, bound)| bound).collect();
        vec![Comparison::within(&expected[0], &actual[0], &bounds)]
    }
}
