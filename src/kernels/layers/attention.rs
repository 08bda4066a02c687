//! Softmax attention.

use crate::checks::expect;
use crate::compare::Comparison;
use crate::device::{BindingElem, Call, Form, Header, Include, Lowering, Shader, Slot, params};
use crate::error::Error;
use crate::graph::{Graph, Kernel, Tensor};
use crate::kernels::operands::{live_of_attention, scale_of};
use crate::reference;
use crate::tensor::{Desc, Elem, HostTensor, Shape};

params! {
    struct Params {
        groups: u32,
        heads: u32,
        key_heads: u32,
        query_count: u32,
        key_count: u32,
        /// In units of the header's `elem`, as are the strides.
        channels: u32,
        value_channels: u32,
        query_head: u32,
        query_row: u32,
        key_head: u32,
        key_row: u32,
        value_head: u32,
        value_row: u32,
        out_head: u32,
        out_row: u32,
        bias_batch: u32,
        bias_head: u32,
        bias_row: u32,
        chunks: u32,
        causal: u32,
        with_lse: u32,
        scale: f32,
    }
}

pub(super) static ATTENTION: Shader = Shader {
    name: "attention",
    source: include_str!("../../../shaders/layers/attention/attention.wgsl"),
    includes: &[Include::Softmax, Include::AttentionLogits, Include::TileLanes, Include::Tile, Include::AttentionWalk],
    headers: &[Header::F32, Header::F16, Header::F32x4, Header::F16x4],
    inputs: &[
        ("queries", BindingElem::Elem),
        ("keys", BindingElem::Elem),
        ("values", BindingElem::Elem),
        ("lengths", BindingElem::U32),
        ("query_lengths", BindingElem::U32),
        ("bias", BindingElem::F32),
    ],
    outputs: &[("out", BindingElem::Elem), ("lse", BindingElem::F32)],
    params: Params::NAMES,
    tunings: &[&[("BIASED", 0)], &[("BIASED", 1)]],
};

params! {
    struct FewParams {
        groups: u32,
        heads: u32,
        key_heads: u32,
        query_count: u32,
        key_count: u32,
        /// In units of the header's `elem`, as are the strides.
        channels: u32,
        value_channels: u32,
        query_head: u32,
        query_row: u32,
        key_head: u32,
        key_row: u32,
        value_head: u32,
        value_row: u32,
        bias_batch: u32,
        bias_head: u32,
        bias_row: u32,
        chunks: u32,
        causal: u32,
        scale: f32,
    }
}

params! {
    struct MergeParams {
        elements: u32,
        heads: u32,
        query_count: u32,
        value_channels: u32,
        out_head: u32,
        out_row: u32,
        chunks: u32,
        with_lse: u32,
    }
}

/// For few query rows: the keys in chunks.
pub(super) static ATTENTION_FEW: Shader = Shader {
    name: "attention.few",
    source: include_str!("../../../shaders/layers/attention/attention.few.wgsl"),
    includes: &[Include::Softmax, Include::AttentionLogits],
    outputs: &[("partial", BindingElem::ElemF32), ("facts", BindingElem::F32)],
    params: FewParams::NAMES,
    tunings: &[
        &[("BIASED", 0), ("ROWS", 1), ("SHARE", 1)],
        &[("BIASED", 1), ("ROWS", 1), ("SHARE", 1)],
        &[("BIASED", 0), ("ROWS", 4), ("SHARE", 1)],
        &[("BIASED", 1), ("ROWS", 4), ("SHARE", 1)],
        &[("BIASED", 0), ("ROWS", 1), ("SHARE", 8)],
        &[("BIASED", 1), ("ROWS", 1), ("SHARE", 8)],
        &[("BIASED", 0), ("ROWS", 4), ("SHARE", 8)],
        &[("BIASED", 1), ("ROWS", 4), ("SHARE", 8)],
    ],
    ..ATTENTION
};

/// Its second pass.
pub(super) static ATTENTION_FEW_MERGE: Shader = Shader {
    name: "attention.few_merge",
    source: include_str!("../../../shaders/layers/attention/attention.few_merge.wgsl"),
    includes: &[Include::Softmax],
    inputs: &[("partial", BindingElem::ElemF32), ("facts", BindingElem::F32)],
    params: MergeParams::NAMES,
    tunings: &[&[]],
    ..ATTENTION
};

/// Keys of a chunk.
const CHUNK: u32 = 256;

/// Where the heads are in queries, keys, values and the result.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Heads {
    /// `[B, H, N, D]`, as caches of keys and values are, and as scores take them.
    #[default]
    First,
    /// `[B, N, H, D]`: what a projection to `[B, N, H D]` gives, without a copy.
    Last,
}

/// Softmax attention. Its weights are never stored.
///
/// ```text
/// s[b,h,i,j]   = scale * queries[b,h,i] . keys[b, h / (H / Hkv), j] + bias[b,h,i,j]
/// rows[b,h,i]  = sum_j exp(s[b,h,i,j] - lse[b,h,i]) values[b, h / (H / Hkv), j],     lse[b,h,i] = ln sum_j exp(s[b,h,i,j])
/// ```
///
/// It is for self-attention, cross-attention with few or many queries, proportional attention (a bias of
/// [`log_size`](crate::kernels::log_size)), masks and position biases.
///
/// - Rows that are dead or see no key are 0, and their lse is negative infinity, so that parts of an attention can be merged. PyTorch's
///   softmax is NaN there; the difference is on purpose.
/// - Logits saturate at the largest float.
/// - A bias of negative infinity hides a key. What a row does not see does not matter, even a NaN.
/// - A bias of `f32::MIN` hides nothing: its keys have a weight of `exp` of nearly that. If all keys of a row have it, the row is their
///   values' mean.
/// - A NaN logit that a row sees makes the row NaN, as in PyTorch.
/// - Every weight is above 0, however small. So a row that sees an infinite value is that infinity, and NaN where it sees both infinities or
///   a NaN. In PyTorch an infinite value of a weight that rounds to 0 gives NaN; the difference is on purpose.
/// - Values weighted by `exp(s - max s)` add up before they are divided: beyond the largest float the row is infinite.
///
/// One pass with a running maximum, as `https://arxiv.org/abs/2205.14135` has it.
///
/// Cost: one dispatch; 2 M N (D + V) operations a head, and 2 M N D more for each 64 channels of V above the first 64 (16 where D or
/// V is not a multiple of 4). With few queries (16, on a CPU 4) and more than 256 keys it is two dispatches and no more operations: 256
/// keys make a part, and the parts are merged in order.
///
/// ```
/// use tokenpress::kernels::{Attention, QueryKeyValue};
/// use tokenpress::{Elem, Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// let queries = graph.constant(HostTensor::f32([1, 1, 1, 2], vec![0.0, 0.0]));
/// let (keys, values) = (graph.input("keys", [1, 1, 3, 2], Elem::F32), graph.input("values", [1, 1, 3, 1], Elem::F32));
/// let inputs = QueryKeyValue { queries, keys, values, bias: None, lengths: None, query_lengths: None };
/// let attended = Attention { lse: true, ..Attention::default() }.build(&mut graph, inputs)?;
/// graph.output("rows", attended.rows)?;
/// let values = HostTensor::f32([1, 1, 3, 1], vec![1.0, 2.0, 6.0]);
/// let inputs = [("keys".to_owned(), HostTensor::f32([1, 1, 3, 2], vec![1.0; 6])), ("values".to_owned(), values)];
/// assert_eq!(graph.run_reference(&inputs.into())?["rows"].floats(), [3.0]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[doc(alias("softmax", "flash_attention", "scaled_dot_product_attention", "cross_attention"))]
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Attention {
    /// Right-aligned: key j is visible to query i iff `j <= i + live keys - live queries`.
    pub causal: bool,
    /// Factor of the dot products; `1 / sqrt(D)` for `None`.
    pub scale: Option<f32>,
    /// Layout of all four.
    pub heads: Heads,
    /// Whether the rows' log-sum-exp is an output too.
    pub lse: bool,
}

/// What [`Attention::build`] reads; shapes for [`Heads::First`].
#[derive(Debug, Clone, Copy)]
pub struct QueryKeyValue {
    /// `[B, H, M, D]`, f32 or f16.
    pub queries: Tensor,
    /// `[B, Hkv, N, D]` of the same element type; H is a multiple of Hkv, and head h attends to head `h / (H / Hkv)`.
    pub keys: Tensor,
    /// `[B, Hkv, N, V]` of the same element type.
    pub values: Tensor,
    /// f32 `[B, H, M, N]`, added to the scaled logits; 1 in the place of B, H or M where it is repeated. A bias of keys is
    /// `[B, 1, 1, N]`, a mask `[1, 1, M, N]` or `[B, 1, M, N]`. Negative infinity hides a key from a row, `f32::MIN`
    /// does not; a row that sees nothing is 0.
    pub bias: Option<Tensor>,
    /// u32 `[B]`: live keys. All for `None`.
    pub lengths: Option<Tensor>,
    /// u32 `[B]`: live query rows. For `None` as many as keys where M is N, and all otherwise.
    pub query_lengths: Option<Tensor>,
}

/// What [`Attention::build`] gives.
#[derive(Debug, Clone, Copy)]
pub struct Attended {
    /// `[B, H, M, V]` in the layout asked for, of the inputs' element type.
    pub rows: Tensor,
    /// f32 `[B, H, M]`, if asked for: natural logarithms.
    pub lse: Option<Tensor>,
}

impl Attention {
    /// Adds the call.
    ///
    /// # Errors
    /// [`Error::Shape`] and [`Error::Elem`] for tensors other than [`QueryKeyValue`] says; [`Error::Value`] for causal attention with
    /// more queries than keys.
    pub fn build(self, graph: &mut Graph, inputs: QueryKeyValue) -> Result<Attended, Error> {
        let QueryKeyValue { queries, keys, values, bias, lengths, query_lengths } = inputs;
        let Geometry { batch, query_count, key_count, .. } = self.geometry(&[queries.desc(), keys.desc(), values.desc()])?;
        let [live_keys, live_queries] = live_of_attention(graph, batch, [query_count, key_count], lengths, query_lengths);
        let inputs: Vec<_> = [queries, keys, values, live_keys, live_queries].into_iter().chain(bias).collect();
        let outputs = graph.call(self, &inputs)?;
        Ok(Attended { rows: outputs[0], lse: outputs.get(1).copied() })
    }

    /// The old name of `build`.
    #[deprecated(note = "it is `build` now, as everywhere")]
    pub fn attend(self, graph: &mut Graph, inputs: QueryKeyValue) -> Result<Attended, Error> {
        self.build(graph, inputs)
    }

    /// Batch, rows, heads and channels of one of the four.
    fn unpack(self, shape: Shape, argument: &'static str) -> Result<[u32; 4], Error> {
        match self.heads {
            Heads::First => shape.exactly(argument, "[B, H, N, D]").map(|[b, h, n, d]| [b, n, h, d]),
            Heads::Last => shape.exactly(argument, "[B, N, H, D]"),
        }
    }

    fn pack(self, [b, n, h, d]: [u32; 4]) -> Shape {
        match self.heads {
            Heads::First => [b, h, n, d].into(),
            Heads::Last => [b, n, h, d].into(),
        }
    }

    fn geometry(self, inputs: &[Desc]) -> Result<Geometry, Error> {
        let [batch, query_count, heads, channels] = self.unpack(inputs[0].shape, "attention: queries")?;
        let [_, key_count, key_heads, _] = self.unpack(inputs[1].shape, "attention: keys")?;
        let [.., value_channels] = self.unpack(inputs[2].shape, "attention: values")?;
        let grouped = if key_heads == 0 { heads == 0 } else { heads.is_multiple_of(key_heads) };
        if !grouped {
            let expected = format!("a number of heads that divides {heads}");
            return Err(Error::Shape { argument: "attention: keys", expected, actual: inputs[1].shape });
        }
        Ok(Geometry { batch, heads, key_heads, query_count, key_count, channels, value_channels })
    }

    /// Strides of heads and of rows. They are numbers in every tensor that a binding holds; of one without elements nothing is read.
    fn strides(self, rows: u32, heads: u32, channels: u32) -> [u32; 2] {
        match self.heads {
            Heads::First => [rows.saturating_mul(channels), channels],
            Heads::Last => [channels, heads.saturating_mul(channels)],
        }
    }
}

/// Sizes of a call.
#[derive(Debug, Clone, Copy)]
struct Geometry {
    batch: u32,
    heads: u32,
    key_heads: u32,
    query_count: u32,
    key_count: u32,
    channels: u32,
    value_channels: u32,
}

/// Whether there are few query rows and many keys. Only the shape of a row of the batch decides, as the order of sums depends on it. A CPU's
/// tile has 16 rows, of which loads are most of the time, a GPU's 64. The parts are at most as large as the values.
fn is_few(g: &Geometry, form: Form) -> bool {
    let rows = if form == Form::Staged { 16 } else { 4 };
    let parts = u64::from(g.heads) * u64::from(g.query_count);
    g.query_count <= rows && g.key_count > CHUNK && g.value_channels > 0 && parts <= u64::from(g.key_heads) * u64::from(CHUNK)
}

/// Strides of the bias' batch rows, heads and query rows: 0 where it is repeated.
fn bias_strides(bias: Shape) -> [u32; 3] {
    let [b, h, m, n] = std::array::from_fn(|i| bias.dims()[i]);
    let stride = |size: u32, stride: u32| if size == 1 { 0 } else { stride };
    let rows = m.saturating_mul(n);
    [stride(b, h.saturating_mul(rows)), stride(h, rows), stride(m, n)]
}

impl Kernel for Attention {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn output_names(&self) -> &'static [&'static str] {
        &["rows", "lse"]
    }

    fn input_count(&self) -> std::ops::RangeInclusive<usize> {
        5..=6
    }

    fn outputs(&self, inputs: &[Desc]) -> Result<Vec<Desc>, Error> {
        let Geometry { batch, heads, key_heads, query_count, key_count, channels, value_channels } = self.geometry(inputs)?;
        let elem = inputs[0].elem;
        if !elem.is_float() {
            return Err(Error::Elem { argument: "attention: queries", expected: "f32 or f16", actual: elem });
        }
        expect("attention: keys", inputs[1], Desc::new(self.pack([batch, key_count, key_heads, channels]), elem))?;
        expect("attention: values", inputs[2], Desc::new(self.pack([batch, key_count, key_heads, value_channels]), elem))?;
        expect("attention: lengths", inputs[3], Desc::new([batch], Elem::U32))?;
        expect("attention: query_lengths", inputs[4], Desc::new([batch], Elem::U32))?;
        if let Some(bias) = inputs.get(5) {
            let whole = [batch, heads, query_count, key_count];
            let given: [u32; 4] = bias.shape.exactly("attention: bias", "[B, H, M, N]")?;
            let fits = given[3] == key_count && given.iter().zip(whole).all(|(given, size)| *given == size || *given == 1);
            let shape = if fits { bias.shape } else { whole.into() };
            expect("attention: bias", *bias, Desc::new(shape, Elem::F32))?;
        }
        if self.causal && query_count > key_count {
            let expected = format!("at most as many queries as keys ({key_count})");
            return Err(Error::Value { argument: "attention: causal", expected, actual: format!("{query_count} queries") });
        }
        let mut outputs = vec![Desc::new(self.pack([batch, query_count, heads, value_channels]), elem)];
        if self.lse {
            outputs.push(Desc::new([batch, heads, query_count], Elem::F32));
        }
        Ok(outputs)
    }

    fn reference(&self, inputs: &[&HostTensor]) -> Vec<HostTensor> {
        let operands = Operands::of(self, inputs);
        let (rows, lse) = reference::attention(&operands.attention(self), &operands.values());
        let Geometry { batch, heads, query_count, value_channels, .. } = operands.geometry;
        let rows = self.arranged(rows, [batch, heads, query_count, value_channels], true);
        let rows = HostTensor::from_floats(Desc::new(self.pack([batch, query_count, heads, value_channels]), inputs[0].desc().elem), rows);
        [rows].into_iter().chain(self.lse.then(|| HostTensor::f32([batch, heads, query_count], lse))).collect()
    }

    fn compare(&self, inputs: &[&HostTensor], expected: &[HostTensor], actual: &[HostTensor]) -> Vec<Comparison> {
        let operands = Operands::of(self, inputs);
        let (rows, lse) = reference::attention_bound(&operands.attention(self), &operands.values(), inputs[0].desc().elem);
        let Geometry { batch, heads, query_count, value_channels, .. } = operands.geometry;
        let rows = self.arranged(rows, [batch, heads, query_count, value_channels], true);
        expected.iter().zip(actual).zip([rows, lse]).map(|((e, a), bounds)| Comparison::within(e, a, &bounds)).collect()
    }

    fn batched_inputs(&self, inputs: &[Desc]) -> Option<Vec<bool>> {
        let bias = inputs.get(5).map(|bias| bias.shape.dims()[0] > 1);
        Some([true; 5].into_iter().chain(bias).collect())
    }

    fn flops(&self, inputs: &[Desc]) -> u64 {
        self.geometry(inputs).map_or(0, |g| {
            let [b, h, m, n, d, v] = [g.batch, g.heads, g.query_count, g.key_count, g.channels, g.value_channels].map(u64::from);
            2 * b * h * m * n * (d + v)
        })
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<(), Error> {
        let descs: Vec<_> = (0..lowering.inputs()).map(|i| lowering.input(i)).collect();
        let geometry = self.geometry(&descs)?;
        let Geometry { batch, heads, key_heads, query_count, key_count, channels, value_channels } = geometry;
        let [queries, keys, values, lengths, query_lengths] = std::array::from_fn(Slot::Input);
        // Both kinds of rows are read four numbers at a time, or neither.
        let whole = if value_channels.is_multiple_of(4) { channels } else { value_channels };
        let slots = [queries, keys, values, Slot::Output(0)];
        let (header, [queries, keys, values, attended]) = lowering.vectors(descs[0].elem, whole, slots);
        let nothing = lowering.scratch(0, Elem::F32);
        let [bias_batch, bias_head, bias_row] = descs.get(5).map_or([0; 3], |bias| bias_strides(bias.shape));
        let (d, v) = (channels / header.width(), value_channels / header.width());
        let [query_head, query_row] = self.strides(query_count, heads, d);
        let [key_head, key_row] = self.strides(key_count, key_heads, d);
        let [value_head, value_row] = self.strides(key_count, key_heads, v);
        let [out_head, out_row] = self.strides(query_count, heads, v);
        let form = lowering.form(&ATTENTION, header);
        let bias = if descs.len() > 5 { Slot::Input(5) } else { nothing };
        let lse = if self.lse { Slot::Output(1) } else { nothing };
        let scale = scale_of(self.scale, channels);
        if is_few(&geometry, form) {
            let tile = if query_count == 1 { 1 } else { 4 };
            let share = if form == Form::Staged { 8 } else { 1 };
            let chunks = key_count.div_ceil(CHUNK);
            let rows = [batch, heads, query_count, chunks].map(u64::from).iter().product::<u64>();
            let partial = lowering.scratch(rows.saturating_mul(value_channels.into()), Elem::F32);
            let facts = lowering.scratch(rows.saturating_mul(2), Elem::F32);
            let constants = [("BIASED", u32::from(descs.len() > 5)), ("ROWS", tile), ("SHARE", share)];
            let constants = ATTENTION_FEW.tunings.iter().find(|tuning| **tuning == constants).copied().unwrap_or_default();
            let groups = [batch, heads, query_count.div_ceil(tile), chunks].map(u64::from).iter().product::<u64>();
            lowering.dispatch(Call {
                shader: &ATTENTION_FEW,
                header,
                constants,
                slots: &[queries, keys, values, lengths, query_lengths, bias, partial, facts],
                params: FewParams {
                    groups: groups as u32,
                    heads,
                    key_heads,
                    query_count,
                    key_count,
                    channels: d,
                    value_channels: v,
                    query_head,
                    query_row,
                    key_head,
                    key_row,
                    value_head,
                    value_row,
                    bias_batch,
                    bias_head,
                    bias_row,
                    chunks,
                    causal: self.causal.into(),
                    scale,
                },
                groups,
            })?;
            let elements = [batch, heads, query_count, v].map(u64::from).iter().product::<u64>();
            return lowering.dispatch(Call {
                shader: &ATTENTION_FEW_MERGE,
                header,
                constants: &[],
                slots: &[partial, facts, attended, lse],
                params: MergeParams {
                    elements: elements as u32,
                    heads,
                    query_count,
                    value_channels: v,
                    out_head,
                    out_row,
                    chunks,
                    with_lse: self.lse.into(),
                },
                groups: elements.div_ceil(64),
            });
        }
        let chunks = if form == Form::Staged { value_channels.div_ceil(64) } else { v.div_ceil(16) }.max(1);
        let rows_of_group = if form == Form::Subgroup { 16 } else { 64 };
        let groups = [batch, heads, query_count.div_ceil(rows_of_group), chunks].map(u64::from).iter().product::<u64>();
        lowering.dispatch(Call {
            shader: &ATTENTION,
            header,
            constants: ATTENTION.tunings[usize::from(descs.len() > 5)],
            slots: &[queries, keys, values, lengths, query_lengths, bias, attended, lse],
            params: Params {
                groups: groups as u32,
                heads,
                key_heads,
                query_count,
                key_count,
                channels: d,
                value_channels: v,
                query_head,
                query_row,
                key_head,
                key_row,
                value_head,
                value_row,
                out_head,
                out_row,
                bias_batch,
                bias_head,
                bias_row,
                chunks,
                causal: self.causal.into(),
                with_lse: self.lse.into(),
                scale,
            },
            groups,
        })
    }
}

impl Attention {
    /// Numbers of `[B, H, N, D]` in this call's layout, or the other way round.
    fn arranged<T: Copy>(&self, numbers: Vec<T>, [batch, heads, rows, channels]: [u32; 4], from_heads_first: bool) -> Vec<T> {
        if self.heads == Heads::First {
            return numbers;
        }
        let [batch, heads, rows, channels] = [batch, heads, rows, channels].map(|d| d as usize);
        let (outer, inner) = if from_heads_first { (rows, heads) } else { (heads, rows) };
        let place = |b: usize, o: usize, i: usize| ((b * inner + i) * outer + o) * channels;
        let all = (0..batch).flat_map(|b| (0..outer).flat_map(move |o| (0..inner).map(move |i| (b, o, i))));
        all.flat_map(|(b, o, i)| numbers[place(b, o, i)..][..channels].iter().copied()).collect()
    }
}

/// Inputs on the host, heads first, as the reference takes them.
struct Operands<'a> {
    geometry: Geometry,
    queries: Vec<f32>,
    keys: Vec<f32>,
    values: Vec<f32>,
    lengths: &'a [u32],
    query_lengths: &'a [u32],
    bias: Option<(Vec<f32>, [usize; 3])>,
}

impl<'a> Operands<'a> {
    /// Of inputs whose shapes were checked when the call was made.
    fn of(kernel: &Attention, inputs: &[&'a HostTensor]) -> Self {
        let descs: Vec<_> = inputs.iter().map(|t| t.desc()).collect();
        let geometry = kernel.geometry(&descs).unwrap_or_else(|error| panic!("{error}"));
        let Geometry { batch, heads, key_heads, query_count, key_count, channels, value_channels } = geometry;
        Self {
            geometry,
            queries: kernel.arranged(inputs[0].floats(), [batch, heads, query_count, channels], false),
            keys: kernel.arranged(inputs[1].floats(), [batch, key_heads, key_count, channels], false),
            values: kernel.arranged(inputs[2].floats(), [batch, key_heads, key_count, value_channels], false),
            lengths: inputs[3].integers(),
            query_lengths: inputs[4].integers(),
            bias: inputs.get(5).map(|bias| (bias.floats(), bias_strides(bias.shape()).map(|s| s as usize))),
        }
    }

    fn attention(&self, kernel: &Attention) -> reference::Attention<'_> {
        reference::Attention {
            queries: &self.queries,
            keys: &self.keys,
            bias: None,
            lengths: self.lengths,
            query_lengths: self.query_lengths,
            heads: self.geometry.heads as usize,
            key_heads: self.geometry.key_heads as usize,
            query_count: self.geometry.query_count as usize,
            key_count: self.geometry.key_count as usize,
            channels: self.geometry.channels as usize,
            scale: scale_of(kernel.scale, self.geometry.channels),
            causal: kernel.causal,
        }
    }

    fn values(&self) -> reference::Values<'_> {
        reference::Values {
            values: &self.values,
            channels: self.geometry.value_channels as usize,
            bias: self.bias.as_ref().map(|(bias, strides)| (bias.as_slice(), *strides)),
        }
    }
}
