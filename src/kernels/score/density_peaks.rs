//! Tokens that stand out as centres of clusters.

use crate::checks::expect;
use crate::compare::{Comparison, EPSILON_F32, storage_error};
use crate::device::{BindingElem, Call, Header, Include, Lowering, Shader, Slot, params};
use crate::error::Error;
use crate::graph::{Graph, Kernel, Tensor};
use crate::kernels::operands::{alone, lengths_or_full, team};
use crate::kernels::{Among, Neighbours, gather_rows, keep_live};
use crate::reference::{self, Rows};
use crate::tensor::{Desc, Elem, HostTensor, NONE};

params! {
    struct DensityParams { rows: u32, nearest: u32, channels: f32 }
}

params! {
    struct RowsParams {
        /// Of 64 tokens, or of one where an invocation has one, in the whole batch.
        tiles: u32,
        tokens: u32,
        /// In elems.
        channels: u32,
    }
}

params! {
    struct PeaksParams {
        /// Of 128 tokens, or of one where an invocation has one, in the whole batch.
        tiles: u32,
        tokens: u32,
        channels: f32,
    }
}

use BindingElem::{F32, U32};

pub(super) static DENSITY: Shader = Shader {
    name: "density_peaks.density",
    source: include_str!("../../../shaders/score/density_peaks.density.wgsl"),
    includes: &[Include::Order],
    headers: &[Header::F32],
    inputs: &[("indices", U32), ("distances", F32)],
    outputs: &[("density", F32)],
    params: DensityParams::NAMES,
    tunings: &[&[]],
};

pub(super) static ROWS: Shader = Shader {
    name: "density_peaks.rows",
    source: include_str!("../../../shaders/score/density_peaks.rows.wgsl"),
    includes: &[Include::Order, Include::TileLanes, Include::Differences, Include::Tile, Include::RowFacts],
    headers: &[Header::F32, Header::F16, Header::F32x4, Header::F16x4],
    inputs: &[("rows", BindingElem::Elem), ("density", F32), ("lengths", U32)],
    outputs: &[("distances", F32)],
    params: RowsParams::NAMES,
    tunings: &[&[]],
};

pub(super) static SHORT_ROWS: Shader = Shader {
    name: "density_peaks.rows.short",
    source: include_str!("../../../shaders/score/density_peaks.rows.short.wgsl"),
    includes: &[Include::Order, Include::Distance],
    ..ROWS
};

pub(super) static PEAKS: Shader = Shader {
    name: "density_peaks",
    source: include_str!("../../../shaders/score/density_peaks.wgsl"),
    includes: &[],
    headers: &[Header::F32],
    inputs: &[("distances", F32), ("density", F32), ("lengths", U32)],
    outputs: &[("separation", F32), ("score", F32)],
    params: PeaksParams::NAMES,
    tunings: &[&[("LANES", 128)], &[("LANES", 1)]],
};

/// What [`density_peaks`] gives, each f32 `[B, N]`; 0 for dead tokens.
#[derive(Debug, Clone, Copy)]
pub struct Peaks {
    /// How dense a token's surroundings are, in 0..=1.
    pub density: Tensor,
    /// How far the nearest denser token is.
    pub separation: Tensor,
    /// Their product: large for the centres of clusters.
    pub score: Tensor,
}

/// How well each token would do as the centre of a cluster.
///
/// ```text
/// d_ij         = |x_i - x_j| / sqrt(C)
/// density_i    = exp(-mean d_ij^2)       over the `nearest` tokens j closest to i, itself among them
/// separation_i = min d_ij over all j of strictly larger density, or the largest d of the batch row where there is none
/// score_i      = density_i separation_i
/// ```
///
/// Rodriguez and Laio, "Clustering by fast search and find of density peaks" (Science, 2014), in the form with nearest neighbours
/// of Du et al. (Knowledge-Based Systems, 2016). A [`TopK`](crate::kernels::TopK) of the score gives the centres.
///
/// `x` is `[B, N, C]`, f32, f16 or bf16; `nearest` is at most 64; `lengths` is u32 `[B]`, all N for `None`. A distance that is not
/// finite in f32 does not count, but it makes its token's density NaN, which is the lowest.
///
/// Cost: five dispatches, four where rows are short, and two more for every further 2^22 pairs; `6 B N^2 C` operations. The matrix of distances is never in
/// memory: the workspace is that of [`Neighbours`], and some bytes a token.
///
/// ```
/// use tokenpress::kernels::density_peaks;
/// use tokenpress::{Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// let x = graph.constant(HostTensor::f32([1, 3, 1], vec![0.0, 1.0, 10.0]));
/// let peaks = density_peaks(&mut graph, x, 2, None)?;
/// graph.output("separation", peaks.separation)?;
/// // Nothing is denser than 0 and 1: they have the largest distance, 10. From 10 to the nearest denser token it is 9.
/// assert_eq!(graph.run_reference(&[].into())?["separation"].floats(), [10.0, 10.0, 9.0]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[doc(alias("dpc", "dpc_knn", "clustering", "local_density"))]
pub fn density_peaks(graph: &mut Graph, x: Tensor, nearest: u32, lengths: Option<Tensor>) -> Result<Peaks, Error> {
    density_peaks_of(graph, x, nearest, None, lengths)
}

/// The same, with densities over so many of the nearest in each row, u32 `[B]`, of those listed.
pub(crate) fn density_peaks_of(
    graph: &mut Graph,
    x: Tensor,
    nearest: u32,
    counts: Option<Tensor>,
    lengths: Option<Tensor>,
) -> Result<Peaks, Error> {
    let [batch, tokens, channels] = x.shape().exactly("density_peaks: x", "[B, N, C]")?;
    let lengths = lengths_or_full(graph, lengths, batch, tokens);
    let search = Neighbours { nearest, exclude_self: false };
    let mut found = search.closest(graph, x, Among { lengths: Some(lengths), ..Default::default() })?;
    if let Some(counts) = counts {
        let (all, shape) = (batch * tokens, found.indices.shape());
        let counts = graph.reshape(counts, [batch, 1])?;
        let first = graph.filled([batch, tokens], 0);
        let counts = gather_rows(graph, counts, first, None)?;
        let counts = graph.reshape(counts, [all])?;
        let listed = graph.reshape(found.indices, [all, nearest])?;
        let listed = keep_live(graph, listed, counts)?;
        found.indices = graph.reshape(listed, shape)?;
    }
    let density = graph.call(Density { channels }, &[found.indices, found.values])?[0];
    let outputs = graph.call(Separation, &[x, density, lengths])?;
    Ok(Peaks { density, separation: outputs[0], score: outputs[1] })
}

/// The density of tokens, of the distances to their nearest.
#[derive(Debug, Clone, Copy)]
struct Density {
    channels: u32,
}

impl Density {
    /// `of` the distances of every token; NaN where one is.
    fn each(&self, inputs: &[&HostTensor], of: impl Fn(&[f32], usize) -> f64) -> Vec<f64> {
        let [batch, tokens, nearest] = inputs[0].dims();
        let (indices, distances) = (inputs[0].integers(), inputs[1].floats());
        let row = |row: usize| {
            let entries = row * nearest..(row + 1) * nearest;
            let present = indices[entries.clone()].iter().zip(&distances[entries]).filter(|(index, _)| **index != NONE);
            of(&present.map(|(_, distance)| *distance).collect::<Vec<_>>(), self.channels as usize)
        };
        (0..batch * tokens).map(row).collect()
    }
}

impl Kernel for Density {
    fn name(&self) -> &'static str {
        "density_peaks.density"
    }

    fn output_names(&self) -> &'static [&'static str] {
        &["density"]
    }

    fn outputs(&self, inputs: &[Desc]) -> Result<Vec<Desc>, Error> {
        let [batch, tokens, _] = inputs[0].shape.exactly("density_peaks: indices", "[B, N, K]")?;
        Ok(vec![Desc::new([batch, tokens], Elem::F32)])
    }

    fn reference(&self, inputs: &[&HostTensor]) -> Vec<HostTensor> {
        let [batch, tokens, _] = inputs[0].dims().map(|d| d as u32);
        let density = self.each(inputs, reference::density).into_iter().map(|d| d as f32).collect();
        vec![HostTensor::f32([batch, tokens], density)]
    }

    fn compare(&self, inputs: &[&HostTensor], expected: &[HostTensor], actual: &[HostTensor]) -> Vec<Comparison> {
        vec![Comparison::within(&expected[0], &actual[0], &self.each(inputs, reference::density_bound))]
    }

    fn batched_inputs(&self, _inputs: &[Desc]) -> Option<Vec<bool>> {
        Some(vec![true, true])
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<(), Error> {
        let [batch, tokens, nearest] = lowering.input(0).shape.exactly("density_peaks: indices", "[B, N, K]")?;
        let rows = u64::from(batch) * u64::from(tokens);
        lowering.dispatch(Call {
            shader: &DENSITY,
            header: Header::F32,
            constants: &[],
            slots: &[Slot::Input(0), Slot::Input(1), Slot::Output(0)],
            params: DensityParams { rows: rows as u32, nearest, channels: self.channels.max(1) as f32 },
            groups: rows.div_ceil(128),
        })
    }
}

/// The separation of tokens whose densities are known: which are denser is decided on what is stored.
#[derive(Debug, Clone, Copy)]
struct Separation;

impl Separation {
    /// Separation of every token and its bound, 0 for dead ones.
    fn each(&self, inputs: &[&HostTensor]) -> Vec<(f64, f64)> {
        let [batch, tokens, channels] = inputs[0].dims();
        let (x, density) = (inputs[0].floats(), inputs[1].floats());
        let mut all = Vec::new();
        for b in 0..batch {
            let live = tokens.min(inputs[2].integers()[b] as usize);
            let rows = Rows { rows: &x[b * tokens * channels..][..tokens * channels], norm: None, channels, live };
            all.extend(reference::separation(&rows, &density[b * tokens..][..tokens]));
            all.resize((b + 1) * tokens, (0.0, 0.0));
        }
        all
    }
}

impl Kernel for Separation {
    fn name(&self) -> &'static str {
        "density_peaks"
    }

    fn output_names(&self) -> &'static [&'static str] {
        &["separation", "score"]
    }

    fn outputs(&self, inputs: &[Desc]) -> Result<Vec<Desc>, Error> {
        let [batch, tokens, _] = inputs[0].shape.exactly("density_peaks: x", "[B, N, C]")?;
        let desc = Desc::new([batch, tokens], Elem::F32);
        expect("density_peaks: density", inputs[1], desc)?;
        expect("density_peaks: lengths", inputs[2], Desc::new([batch], Elem::U32))?;
        Ok(vec![desc, desc])
    }

    fn reference(&self, inputs: &[&HostTensor]) -> Vec<HostTensor> {
        let separation = self.each(inputs);
        let (density, lengths, [_, tokens]) = (inputs[1].floats(), inputs[2].integers(), inputs[1].dims());
        let live = |i: usize| i % tokens < lengths[i / tokens] as usize;
        let score = |(i, ((s, _), d)): (usize, (&(f64, f64), &f32))| if live(i) { (s * f64::from(*d)) as f32 } else { 0.0 };
        let score = separation.iter().zip(&density).enumerate().map(score).collect();
        let shape = inputs[1].shape();
        vec![HostTensor::f32(shape, separation.iter().map(|(s, _)| *s as f32).collect()), HostTensor::f32(shape, score)]
    }

    fn compare(&self, inputs: &[&HostTensor], expected: &[HostTensor], actual: &[HostTensor]) -> Vec<Comparison> {
        let separation = self.each(inputs);
        let stored = |value: f64, bound: f64| if bound == 0.0 { 0.0 } else { bound + storage_error(Elem::F32, value + bound) };
        let bounds: Vec<f64> = separation.iter().map(|(s, bound)| stored(*s, *bound)).collect();
        let product = |((s, bound), d): (&(f64, f64), &f32)| {
            let d = f64::from(d.abs());
            stored(s * d, bound * d + EPSILON_F32 * s * d + f64::from(f32::MIN_POSITIVE))
        };
        let products: Vec<f64> = separation.iter().zip(&inputs[1].floats()).map(product).collect();
        vec![Comparison::within(&expected[0], &actual[0], &bounds), Comparison::within(&expected[1], &actual[1], &products)]
    }

    fn batched_inputs(&self, _inputs: &[Desc]) -> Option<Vec<bool>> {
        Some(vec![true, true, true])
    }

    fn flops(&self, inputs: &[Desc]) -> u64 {
        3 * inputs[0].shape.elements() * u64::from(inputs[1].shape.dims()[1])
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<(), Error> {
        let [batch, tokens, channels] = lowering.input(0).shape.exactly("density_peaks: x", "[B, N, C]")?;
        let (header, [x]) = lowering.vectors(lowering.input(0).elem, channels, [Slot::Input(0)]);
        let distances = lowering.scratch(2 * u64::from(batch) * u64::from(tokens), Elem::F32);
        let short = alone(tokens, tokens.into(), channels);
        let tiles_of = |size| u64::from(batch) * u64::from(if short { tokens } else { tokens.div_ceil(size) });
        let (shader, groups) = team(short, &ROWS, &SHORT_ROWS, tiles_of(64));
        lowering.dispatch(Call {
            shader,
            header,
            constants: &[],
            slots: &[x, Slot::Input(1), Slot::Input(2), distances],
            params: RowsParams { tiles: tiles_of(64) as u32, tokens, channels: channels / header.width() },
            groups,
        })?;
        let tiles = tiles_of(128);
        lowering.dispatch(Call {
            shader: &PEAKS,
            header: Header::F32,
            constants: PEAKS.tunings[usize::from(short)],
            slots: &[distances, Slot::Input(1), Slot::Input(2), Slot::Output(0), Slot::Output(1)],
            params: PeaksParams { tiles: tiles as u32, tokens, channels: channels.max(1) as f32 },
            groups: if short { tiles.div_ceil(128) } else { tiles },
        })
    }
}
