//! The attention that pools of frames receive.

use crate::checks::expect;
use crate::compare::Comparison;
use crate::device::{BindingElem, Call, Header, Include, Lowering, Shader, Slot, params};
use crate::error::Error;
use crate::graph::{Graph, Kernel, Tensor};
use crate::kernels::operands::{alone, lengths_or_full, scale_of};
use crate::kernels::score::attention_score;
use crate::reference::{self, Attention, Received};
use crate::tensor::{Desc, Elem, HostTensor};

params! {
    struct Params {
        /// Rows or pools that have an invocation each, or tiles.
        groups: u32,
        batch: u32,
        pools: u32,
        pool: u32,
        heads: u32,
        key_heads: u32,
        frames: u32,
        /// Chunks of the query frames.
        parts: u32,
        /// In elems.
        channels: u32,
        scale: f32,
    }
}

pub(super) static SHORT_SUMS: Shader = Shader {
    name: "pooled_attention.sums.short",
    source: include_str!("../../../shaders/score/pooled_attention.sums.short.wgsl"),
    includes: &[Include::Softmax],
    headers: &[Header::F32, Header::F16, Header::F32x4, Header::F16x4],
    inputs: &[("queries", BindingElem::Elem), ("keys", BindingElem::Elem), ("lengths", BindingElem::U32)],
    outputs: &[("sums", BindingElem::F32)],
    params: Params::NAMES,
    tunings: &[&[]],
};

pub(super) static SHORT: Shader = Shader {
    name: "pooled_attention.short",
    source: include_str!("../../../shaders/score/pooled_attention.short.wgsl"),
    inputs: &[("queries", BindingElem::Elem), ("keys", BindingElem::Elem), ("lengths", BindingElem::U32), ("sums", BindingElem::F32)],
    outputs: &[("received", BindingElem::F32), ("own", BindingElem::F32)],
    ..SHORT_SUMS
};

pub(super) static FRAMES: Shader = Shader {
    name: "pooled_attention.frames",
    source: include_str!("../../../shaders/score/pooled_attention.frames.wgsl"),
    includes: &[Include::Softmax, Include::TileLanes, Include::Products, Include::Tile, Include::RowFacts],
    // Both lie in the workspace, so neither can be read-only.
    outputs: &[("sums", BindingElem::F32), ("partials", BindingElem::F32)],
    ..SHORT_SUMS
};

pub(super) static POOLED_ATTENTION: Shader = Shader {
    name: "pooled_attention",
    source: include_str!("../../../shaders/score/pooled_attention.wgsl"),
    includes: &[],
    headers: &[Header::F32],
    inputs: &[("lengths", BindingElem::U32), ("partials", BindingElem::F32)],
    outputs: &[("received", BindingElem::F32), ("own", BindingElem::F32)],
    ..SHORT_SUMS
};

/// Chunks of the query frames, at most, and how many frames a chunk has at least.
const CHUNKS: u32 = 16;
const CHUNK_FRAMES: u32 = 128;

/// The most frames of which an invocation keeps the logits.
const FEW: u32 = 16;

/// The attention that pools of frames receive: from all frames by the strongest head, and from themselves.
///
/// ```text
/// w[h,i,j]    = softmax_j(scale * queries[b,h,i] . keys[b,h/(H/Hkv),j])
/// received[t] = mean_i sum_{j in t} max_h w[h,i,j]           own[t] = mean_h mean_{i in t} sum_{j in t} w[h,i,j]
/// ```
///
/// These are SAMP's weights of merging and of pruning, for a sound encoder whose frames are pooled afterwards
/// (`https://github.com/Tencent/AngelSlim`). The maximum over the heads is taken inside the mean over the queries.
/// [`HeadReduction::Max`](crate::kernels::HeadReduction) of [`AttentionScore`](crate::kernels::AttentionScore) takes it outside.
///
/// Cost: three dispatches, two for few frames, and `4 H M^2 D` operations for M frames. Nothing of size `M x M` is stored: the workspace is
/// `8 H M` bytes a batch row, and at most `128 M`.
///
/// ```
/// use tokenpress::kernels::PooledAttention;
/// use tokenpress::{Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// let queries = graph.constant(HostTensor::f32([1, 1, 4, 1], vec![1.0; 4]));
/// // All frames look at the second one alone, which is in the first pool.
/// let keys = graph.constant(HostTensor::f32([1, 1, 4, 1], vec![0.0, 200.0, 0.0, 0.0]));
/// let found = PooledAttention { pool: 2, scale: None }.build(&mut graph, queries, keys, None)?;
/// graph.output("received", found.received)?;
/// assert_eq!(graph.run_reference(&[].into())?["received"].floats(), [1.0, 0.0]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PooledAttention {
    /// Successive frames of a pool. The number of frames is a multiple of it.
    pub pool: u32,
    /// Factor of the dot products; `1 / sqrt(D)` for `None`.
    pub scale: Option<f32>,
}

/// What [`PooledAttention::build`] gives.
#[derive(Debug, Clone, Copy)]
pub struct PoolImportance {
    /// f32 `[B, M / pool]`: from all frames, by the strongest head. 0 for pools without a live frame.
    pub received: Tensor,
    /// f32 `[B, M / pool]`: from the pool's own frames.
    pub own: Tensor,
}

impl PooledAttention {
    /// Adds the call.
    ///
    /// `queries` is `[B, H, M, D]`, f32, f16 or bf16; `keys` is `[B, Hkv, M, D]` of the same type, H a multiple of Hkv. The first
    /// `lengths[b]` frames are alive (u32 `[B]`, all for `None`); what lies after them does not matter.
    ///
    /// Logits saturate at the largest float. A NaN makes all that its query gives NaN. NaN wins in the maximum over heads, and so
    /// the whole batch row's `received` is NaN.
    pub fn build(self, graph: &mut Graph, queries: Tensor, keys: Tensor, lengths: Option<Tensor>) -> Result<PoolImportance, Error> {
        let [batch, _, frames, _] = queries.shape().exactly("pooled_attention: queries", "[B, H, M, D]")?;
        let lengths = lengths_or_full(graph, lengths, batch, frames);
        let outputs = graph.call(self, &[queries, keys, lengths])?;
        Ok(PoolImportance { received: outputs[0], own: outputs[1] })
    }

    /// The old name of `build`.
    #[deprecated(note = "it is `build` now, as everywhere")]
    pub fn find(self, graph: &mut Graph, queries: Tensor, keys: Tensor, lengths: Option<Tensor>) -> Result<PoolImportance, Error> {
        self.build(graph, queries, keys, lengths)
    }

    fn of(&self, inputs: &[&HostTensor]) -> Vec<Received> {
        let [_, heads, frames, channels] = inputs[0].dims();
        let (queries, keys) = (inputs[0].floats(), inputs[1].floats());
        let attention = Attention {
            queries: &queries,
            keys: &keys,
            bias: None,
            lengths: inputs[2].integers(),
            query_lengths: inputs[2].integers(),
            heads,
            key_heads: inputs[1].shape().dims()[1] as usize,
            query_count: frames,
            key_count: frames,
            channels,
            scale: scale_of(self.scale, channels as u32),
            causal: false,
        };
        reference::pooled_attention(&attention, self.pool as usize)
    }
}

impl Kernel for PooledAttention {
    fn name(&self) -> &'static str {
        "pooled_attention"
    }

    fn output_names(&self) -> &'static [&'static str] {
        &["received", "own"]
    }

    fn input_count(&self) -> std::ops::RangeInclusive<usize> {
        3..=3
    }

    fn outputs(&self, inputs: &[Desc]) -> Result<Vec<Desc>, Error> {
        let [batch, heads, frames, channels] = inputs[0].shape.exactly("pooled_attention: queries", "[B, H, M, D]")?;
        let [_, key_heads, ..] = inputs[1].shape.exactly::<4>("pooled_attention: keys", "[B, Hkv, M, D]")?;
        if !inputs[0].elem.is_float() {
            return Err(Error::Elem { argument: "pooled_attention: queries", expected: "f32, f16 or bf16", actual: inputs[0].elem });
        }
        if key_heads == 0 || heads == 0 || !heads.is_multiple_of(key_heads) {
            let expected = format!("[{batch}, Hkv, {frames}, {channels}] with {heads} a multiple of Hkv");
            return Err(Error::Shape { argument: "pooled_attention: keys", expected, actual: inputs[1].shape });
        }
        if self.pool == 0 || !frames.is_multiple_of(self.pool) {
            let expected = format!("a divisor of {frames} frames");
            return Err(Error::Value { argument: "pooled_attention: pool", expected, actual: self.pool.to_string() });
        }
        expect("pooled_attention: keys", inputs[1], Desc::new([batch, key_heads, frames, channels], inputs[0].elem))?;
        expect("pooled_attention: lengths", inputs[2], Desc::new([batch], Elem::U32))?;
        Ok(vec![Desc::new([batch, frames / self.pool], Elem::F32); 2])
    }

    fn reference(&self, inputs: &[&HostTensor]) -> Vec<HostTensor> {
        let [batch, _, frames, _] = inputs[0].dims();
        let shape = [batch as u32, frames as u32 / self.pool];
        let pools = self.of(inputs);
        let tensor = |value: fn(&Received) -> f64| HostTensor::f32(shape, pools.iter().map(|p| value(p) as f32).collect());
        vec![tensor(|p| p.all), tensor(|p| p.own)]
    }

    fn batched_inputs(&self, _inputs: &[Desc]) -> Option<Vec<bool>> {
        Some(vec![true; 3])
    }

    fn flops(&self, inputs: &[Desc]) -> u64 {
        4 * inputs[0].shape.elements() * u64::from(inputs[0].shape.dims()[2])
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<(), Error> {
        let [batch, heads, frames, channels] = lowering.input(0).shape.exactly("pooled_attention: queries", "[B, H, M, D]")?;
        let (header, [queries, keys]) = lowering.vectors(lowering.input(0).elem, channels, [Slot::Input(0), Slot::Input(1)]);
        let pools = frames / self.pool;
        let groups = u64::from(batch) * u64::from(pools);
        let key_heads = lowering.input(1).shape.dims()[1];
        let rows = u64::from(batch) * u64::from(heads) * u64::from(frames);
        let sums = lowering.scratch(2 * rows, Elem::F32);
        let scale = scale_of(self.scale, channels);
        let parts = frames.div_ceil(CHUNK_FRAMES).clamp(1, CHUNKS);
        // What an invocation compares in the longer of two passes.
        let pairs = u64::from(frames) * u64::from(self.pool) * u64::from(heads);
        let few = frames <= FEW && alone(frames, pairs, channels);
        let channels = channels / header.width();
        let params =
            |groups: u64| Params { groups: groups as u32, batch, pools, pool: self.pool, heads, key_heads, frames, parts, channels, scale };
        let dispatch = |lowering: &mut Lowering<'_>, shader: &'static Shader, header, slots: &[Slot], groups: u64, per_group: u64| {
            let params = params(groups);
            lowering.dispatch(Call { shader, header, constants: &[], slots, params, groups: groups.div_ceil(per_group) })
        };
        let lengths = Slot::Input(2);
        if few {
            dispatch(lowering, &SHORT_SUMS, header, &[queries, keys, lengths, sums], rows, 64)?;
            let slots = [queries, keys, lengths, sums, Slot::Output(0), Slot::Output(1)];
            return dispatch(lowering, &SHORT, header, &slots, groups, 64);
        }
        attention_score::square_sums(lowering, header, [queries, keys, lengths, sums], [batch, heads, key_heads, frames, channels], scale)?;
        let partials = lowering.scratch(2 * u64::from(parts) * u64::from(batch) * u64::from(frames), Elem::F32);
        let tiles = u64::from(batch) * u64::from(parts) * u64::from(frames.div_ceil(64));
        dispatch(lowering, &FRAMES, header, &[queries, keys, lengths, sums, partials], tiles, 1)?;
        dispatch(lowering, &POOLED_ATTENTION, Header::F32, &[lengths, partials, Slot::Output(0), Slot::Output(1)], groups, 64)
    }

    fn compare(&self, inputs: &[&HostTensor], expected: &[HostTensor], actual: &[HostTensor]) -> Vec<Comparison> {
        let (all, own): (Vec<f64>, Vec<f64>) = self.of(inputs).iter().map(|p| (p.all_error, p.own_error)).unzip();
        vec![Comparison::within(&expected[0], &actual[0], &all), Comparison::within(&expected[1], &actual[1], &own)]
    }
}
