//! Softmax attention.

use crate::checks::expect;
use crate::compare::Comparison;
use crate::device::{BindingElem, Call, Form, Header, Include, Lowering, Shader, Slot, params};
use crate::error::Error;
use crate::graph::{Graph, Kernel, Tensor};
use crate::kernels::concat_rows;
use crate::kernels::operands::{live_of_attention, scale_of};
use crate::reference;
use crate::reference::Limits;
use crate::tensor::{Desc, Elem, HostTensor, NONE, Shape};

params! {
    /// The passes share their parameters; each reads some.
    struct Params {
        /// Workgroups of the dispatch, or elems of the result where parts are merged.
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
        biased: u32,
        /// Keys that a row sees before its position and after it, and the position of row 0; `NONE` for all, and for the end.
        before: u32,
        after: u32,
        offset: u32,
        scale: f32,
        /// 0 for none.
        cap: f32,
        /// Entries of a list of pages, and the logarithm of a page's keys.
        pages: u32,
        page_bits: u32,
    }
}

pub(super) static ATTENTION: Shader = Shader {
    name: "attention",
    source: include_str!("../../../shaders/layers/attention/attention.wgsl"),
    includes: &[Include::Softmax, Include::AttentionLogits, Include::TileLanes, Include::Products, Include::Tile, Include::AttentionWalk],
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
    tunings: &[&[("BIASED", 0)], &[("BIASED", 1)], &[("BIASED", 1), ("LIMITED", 1)]],
};

/// For few query rows: the keys in chunks.
pub(super) static ATTENTION_FEW: Shader = Shader {
    name: "attention.few",
    source: include_str!("../../../shaders/layers/attention/attention.few.wgsl"),
    includes: &[Include::Softmax, Include::AttentionLogits, Include::Products],
    outputs: &[("partial", BindingElem::ElemF32), ("facts", BindingElem::F32)],
    tunings: &[
        &[("BIASED", 0), ("ROWS", 1), ("SHARE", 1)],
        &[("BIASED", 1), ("ROWS", 1), ("SHARE", 1)],
        &[("BIASED", 1), ("LIMITED", 1), ("ROWS", 1), ("SHARE", 1)],
        &[("BIASED", 0), ("ROWS", 4), ("SHARE", 1)],
        &[("BIASED", 1), ("ROWS", 4), ("SHARE", 1)],
        &[("BIASED", 1), ("LIMITED", 1), ("ROWS", 4), ("SHARE", 1)],
        &[("BIASED", 0), ("ROWS", 1), ("SHARE", 8)],
        &[("BIASED", 1), ("ROWS", 1), ("SHARE", 8)],
        &[("BIASED", 1), ("LIMITED", 1), ("ROWS", 1), ("SHARE", 8)],
        &[("BIASED", 0), ("ROWS", 4), ("SHARE", 8)],
        &[("BIASED", 1), ("ROWS", 4), ("SHARE", 8)],
        &[("BIASED", 1), ("LIMITED", 1), ("ROWS", 4), ("SHARE", 8)],
    ],
    ..ATTENTION
};

/// Its second pass.
pub(super) static ATTENTION_FEW_MERGE: Shader = Shader {
    name: "attention.few_merge",
    source: include_str!("../../../shaders/layers/attention/attention.few_merge.wgsl"),
    includes: &[Include::Softmax],
    inputs: &[("partial", BindingElem::ElemF32), ("facts", BindingElem::F32)],
    tunings: &[&[]],
    ..ATTENTION
};

/// The same over pages of the keys.
pub(super) static PAGED_ATTENTION: Shader = Shader {
    name: "paged_attention",
    tunings: &[
        &[("PAGED", 1), ("ROWS", 1), ("SHARE", 1)],
        &[("PAGED", 1), ("ROWS", 4), ("SHARE", 1)],
        &[("PAGED", 1), ("ROWS", 1), ("SHARE", 8)],
        &[("PAGED", 1), ("ROWS", 4), ("SHARE", 8)],
    ],
    ..ATTENTION_FEW
};

/// Keys of a chunk.
pub(super) const CHUNK: u32 = 256;

/// Where the heads are in queries, keys, values and the result.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Heads {
    /// `[B, H, N, D]`, as caches of keys and values are, and as scores take them.
    #[default]
    First,
    /// `[B, N, H, D]`: what a projection to `[B, N, H D]` gives, without a copy.
    Last,
}

/// Where query rows stand among the keys, which matters to causal attention and to windows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Align {
    /// The last live row stands at the last live key: row i at key `i + live keys - live queries`. So it is in a cache, whatever its past.
    #[default]
    End,
    /// Row i stands at key `i + n`. With 0 it is PyTorch's `is_causal`, and with the length of a past ONNX's.
    From(u32),
}

/// Softmax attention. Its weights are never stored.
///
/// ```text
/// s[b,h,i,j]   = scale * queries[b,h,i] . keys[b, h / (H / Hkv), j] + bias[b,h,i,j]
/// with a cap:  = cap * tanh(scale * queries[b,h,i] . keys[b, h / (H / Hkv), j] / cap) + bias[b,h,i,j]
/// rows[b,h,i]  = sum_j exp(s[b,h,i,j] - lse[b,h,i]) values[b, h / (H / Hkv), j],     lse[b,h,i] = ln sum_j exp(s[b,h,i,j])
/// ```
///
/// It is for self-attention, cross-attention with few or many queries, proportional attention (a bias of
/// [`log_size`](crate::kernels::log_size)), masks and position biases.
///
/// - Rows that are dead or see no key are 0, and their lse is negative infinity, so that parts of an attention can be merged. PyTorch's
///   softmax is NaN there; the difference is on purpose.
/// - Logits saturate at the largest float.
/// - A soft cap comes before the bias, as in Gemma 2 and in ONNX. An infinite logit is the cap, with its sign.
/// - A bias of negative infinity hides a key. What a row does not see does not matter, even a NaN.
/// - A bias of `f32::MIN` hides nothing: its keys have a weight of `exp` of nearly that. If all keys of a row have it, the row is their
///   values' mean.
/// - A NaN logit that a row sees makes the row NaN, as in PyTorch.
/// - Every weight is above 0, however small. So a row that sees an infinite value is that infinity, and NaN where it sees both infinities or
///   a NaN. In PyTorch an infinite value of a weight that rounds to 0 gives NaN; the difference is on purpose.
/// - Values weighted by `exp(s - max s)` add up before they are divided: beyond the largest float the row is infinite,
///   and it may be NaN if it sees an infinite value too.
///
/// One pass with a running maximum, as `https://arxiv.org/abs/2205.14135` has it.
///
/// A past is in front of keys and values as one tensor with them ([`QueryKeyValue::with_past`]). Or it stays where it is: two calls, one over
/// the past with `causal: false` and one over the new keys with [`Align::From`]`(0)`, and
/// [`merge_attention`](crate::kernels::merge_attention()).
///
/// The weights as a matrix are what the rows take from values that are the unit vectors, `[B, Hkv, N, N]`. The logits are those of
/// [`AttentionScore`](crate::kernels::AttentionScore) with neither rows nor heads reduced.
///
/// Cost, with N the keys that a tile of 16 or 64 rows sees: one dispatch; 2 M N (D + V) operations a head, and 2 M N D more for each 64
/// channels of V above the first 64 (16 where D or V is not a multiple of 4). With few queries (16, on a CPU 4) and more than 256 keys it is
/// two dispatches and no more operations: 256 keys make a part, and the parts are merged in order.
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
    /// Key j is visible to query i iff `j <= p`, the key at which the row stands: `i + live keys - live queries`, if `align` is not set.
    pub causal: bool,
    /// Factor of the dot products; `1 / sqrt(D)` for `None`.
    pub scale: Option<f32>,
    /// Layout of all four.
    pub heads: Heads,
    /// Whether the rows' log-sum-exp is an output too.
    pub lse: bool,
    /// Soft cap of the logits, from 2^-64 to 2^64.
    pub soft_cap: Option<f32>,
    /// A sliding window: how many keys a row sees before the key at which it stands, and how many after it; all for `None`. So the key
    /// itself and the 1023 before it are `[Some(1023), Some(0)]`. What no row of a tile sees is not read.
    pub window: [Option<u32>; 2],
    /// At which key a row stands.
    pub align: Align,
}

/// What [`Attention::build`] reads; shapes for [`Heads::First`].
#[derive(Debug, Clone, Copy)]
pub struct QueryKeyValue {
    /// `[B, H, M, D]`, f32, f16 or bf16.
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

impl QueryKeyValue {
    /// The same with keys and values of a past in front: `[B, Hkv, P, D]` and `[B, Hkv, P, V]` for [`Heads::First`], all of it alive. The
    /// bias is of all `P + N` keys, and `keys` and `values` are the cache that goes on.
    ///
    /// Cost: a copy of past and new keys, and of the values; with `lengths` one more dispatch.
    ///
    /// ```
    /// use tokenpress::kernels::{Attention, Heads, QueryKeyValue};
    /// use tokenpress::{Graph, HostTensor};
    ///
    /// let mut graph = Graph::new();
    /// let mut rows = |values: Vec<f32>| graph.constant(HostTensor::f32([1, 1, values.len() as u32, 1], values));
    /// let (queries, keys, values) = (rows(vec![0.0; 2]), rows(vec![1.0, 1.0]), rows(vec![6.0, 9.0]));
    /// let past = [rows(vec![1.0, 1.0]), rows(vec![2.0, 4.0])];
    /// let now = QueryKeyValue { queries, keys, values, bias: None, lengths: None, query_lengths: None };
    /// let inputs = now.with_past(&mut graph, Heads::First, past)?;
    /// let attended = Attention { causal: true, ..Attention::default() }.build(&mut graph, inputs)?;
    /// graph.output("rows", attended.rows)?;
    /// assert_eq!(graph.run_reference(&[].into())?["rows"].floats(), [4.0, 5.25]);
    /// # Ok::<(), tokenpress::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Shape`] and [`Error::Elem`] where the past is not like keys and values.
    pub fn with_past(self, graph: &mut Graph, heads: Heads, past: [Tensor; 2]) -> Result<Self, Error> {
        let [keys, values] = [(past[0], self.keys), (past[1], self.values)].map(|(past, now)| behind(graph, heads, past, now));
        let (keys, values) = (keys?, values?);
        let rows = |tensor: Tensor| match heads {
            Heads::First => tensor.shape().dims()[2],
            Heads::Last => tensor.shape().dims()[1],
        };
        let batch = self.keys.shape().dims()[0];
        let query_lengths = match (self.query_lengths, self.lengths) {
            // As the attention itself would take them of the new keys alone.
            (None, Some(lengths)) if rows(self.queries) == rows(self.keys) => Some(lengths),
            (given, _) => given,
        };
        let lengths = match self.lengths {
            Some(lengths) => {
                let [of_past, of_now] = [past[0], self.keys].map(|tensor| graph.filled([batch, rows(tensor)], 0));
                Some(concat_rows(graph, (of_past, None), (of_now, Some(lengths)))?.1)
            }
            None => None,
        };
        // Without lengths all rows are alive, also where there are as many as keys.
        Ok(Self { keys, values, lengths, query_lengths, ..self })
    }
}

/// Rows of a past, and those of now behind them, in each head.
fn behind(graph: &mut Graph, heads: Heads, past: Tensor, now: Tensor) -> Result<Tensor, Error> {
    let [batch, a, b, channels] = now.shape().exactly("attention: keys and values", "four dimensions")?;
    let [past_batch, past_a, past_b, past_channels] = past.shape().exactly("attention: past", "four dimensions")?;
    let wrong = || Error::Shape { argument: "attention: past", expected: format!("as of {}", now.shape()), actual: past.shape() };
    let (alike, rows, flat) = match heads {
        Heads::First => (past_a == a, [past_b, b], [batch.checked_mul(a), Some(channels)]),
        Heads::Last => (past_b == b, [past_a, a], [Some(batch), b.checked_mul(channels)]),
    };
    let ([Some(outer), Some(inner)], Some(all)) = (flat, rows[0].checked_add(rows[1])) else { return Err(wrong()) };
    if !alike || [past_batch, past_channels] != [batch, channels] {
        return Err(wrong());
    }
    let past = graph.reshape(past, [outer, rows[0], inner])?;
    let now = graph.reshape(now, [outer, rows[1], inner])?;
    let (joined, _) = concat_rows(graph, (past, None), (now, None))?;
    match heads {
        Heads::First => graph.reshape(joined, [batch, a, all, channels]),
        Heads::Last => graph.reshape(joined, [batch, all, b, channels]),
    }
}

impl Attention {
    /// Adds the call.
    ///
    /// # Errors
    /// [`Error::Shape`] and [`Error::Elem`] for tensors other than [`QueryKeyValue`] says; [`Error::Value`] for causal attention with
    /// more queries than keys, if it is aligned at the end, for a soft cap out of range, and for windows and rows that stand elsewhere where
    /// these numbers, or those of queries or keys, are above 2^29.
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

    /// Keys that a row sees after the one at which it stands.
    fn after(self) -> Option<u32> {
        if self.causal { Some(0) } else { self.window[1] }
    }

    /// Whether it takes more than a bias and right-aligned causality.
    fn is_limited(self) -> bool {
        let placed = self.align != Align::End && (self.causal || self.window != [None; 2]);
        self.soft_cap.is_some() || placed || self.window[0].is_some() || (!self.causal && self.window[1].is_some())
    }

    pub(super) fn limits(self) -> Limits {
        let first = match self.align {
            Align::End => None,
            Align::From(first) => Some(first),
        };
        Limits { soft_cap: self.soft_cap, before: self.window[0], after: self.after(), first }
    }

    /// What would be wrong with its numbers.
    fn check(self, queries: u32, keys: u32) -> Result<(), Error> {
        let wrong = |argument, expected: String, actual: String| Err(Error::Value { argument, expected, actual });
        if self.causal && self.align == Align::End && queries > keys {
            let expected = format!("at most as many queries as keys ({keys})");
            return wrong("attention: causal", expected, format!("{queries} queries"));
        }
        if let Some(cap) = self.soft_cap.filter(|cap| !(2f32.powi(-64)..=2f32.powi(64)).contains(cap)) {
            return wrong("attention: soft_cap", "a number from 2^-64 to 2^64".to_owned(), cap.to_string());
        }
        let Limits { before, after, first, .. } = self.limits();
        let numbers = [before, after, first, Some(queries), Some(keys)];
        if self.is_limited() && numbers.iter().flatten().any(|n| *n > 1 << 29) {
            let expected = "windows, queries and keys of at most 2^29".to_owned();
            return wrong("attention: window", expected, format!("{before:?}, {after:?}, {first:?}, {queries} and {keys}"));
        }
        Ok(())
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
            return Err(Error::Elem { argument: "attention: queries", expected: "f32, f16 or bf16", actual: elem });
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
        self.check(query_count, key_count)?;
        let mut outputs = vec![Desc::new(self.pack([batch, query_count, heads, value_channels]), elem)];
        if self.lse {
            outputs.push(Desc::new([batch, heads, query_count], Elem::F32));
        }
        Ok(outputs)
    }

    fn reference(&self, inputs: &[&HostTensor]) -> Vec<HostTensor> {
        let operands = Operands::of(self, inputs);
        let (rows, lse) = reference::attention(&operands.attention(self), &operands.values(self));
        let Geometry { batch, heads, query_count, value_channels, .. } = operands.geometry;
        let rows = self.arranged(rows, [batch, heads, query_count, value_channels], true);
        let rows = HostTensor::from_floats(Desc::new(self.pack([batch, query_count, heads, value_channels]), inputs[0].desc().elem), rows);
        [rows].into_iter().chain(self.lse.then(|| HostTensor::f32([batch, heads, query_count], lse))).collect()
    }

    fn compare(&self, inputs: &[&HostTensor], expected: &[HostTensor], actual: &[HostTensor]) -> Vec<Comparison> {
        let operands = Operands::of(self, inputs);
        let (rows, lse) = reference::attention_bound(&operands.attention(self), &operands.values(self), inputs[0].desc().elem);
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
            let n = match [self.window[0], self.after()] {
                [Some(before), Some(after)] => n.min(u64::from(before) + u64::from(after) + 1),
                _ => n,
            };
            2 * b * h * m * n * (d + v)
        })
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<(), Error> {
        self.lower_over(lowering, None)
    }
}

/// A list of pages in the place of a bias, `[B, 1 or H, 1, entries]`, and a page's keys as a logarithm. The lengths of the list are in the place of
/// those of the queries.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pages {
    pub(super) entries: u32,
    pub(super) bits: u32,
}

impl Attention {
    /// Over all keys, or over pages of them.
    pub(super) fn lower_over(self, lowering: &mut Lowering<'_>, pages: Option<Pages>) -> Result<(), Error> {
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
        let limits = self.limits();
        let form = lowering.form(&ATTENTION, header);
        let (biased, limited) = (descs.len() > 5, self.is_limited());
        let bias = if biased { Slot::Input(5) } else { nothing };
        let lse = if self.lse { Slot::Output(1) } else { nothing };
        let scale = scale_of(self.scale, channels);
        let params = |groups: u64, chunks: u32| Params {
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
            biased: biased.into(),
            before: limits.before.unwrap_or(NONE),
            after: limits.after.unwrap_or(NONE),
            offset: limits.first.unwrap_or(NONE),
            scale,
            cap: limits.soft_cap.unwrap_or(0.0),
            pages: pages.map_or(1, |pages| pages.entries),
            page_bits: pages.map_or(0, |pages| pages.bits),
        };
        if pages.is_some() || is_few(&geometry, form) {
            let tile = if query_count == 1 { 1 } else { 4 };
            let share = if form == Form::Staged { 8 } else { 1 };
            let listed = pages.map_or(key_count, |pages| pages.entries << pages.bits);
            let chunks = listed.div_ceil(CHUNK);
            let rows = [batch, heads, query_count, chunks].map(u64::from).iter().product::<u64>();
            let partial = lowering.scratch(rows.saturating_mul(value_channels.into()), Elem::F32);
            let facts = lowering.scratch(rows.saturating_mul(2), Elem::F32);
            let shader = if pages.is_some() { &PAGED_ATTENTION } else { &ATTENTION_FEW };
            let kind = if pages.is_some() { ("PAGED", 1) } else { ("BIASED", u32::from(biased || limited)) };
            // A text without limits does not name them.
            let limits = limited.then_some(("LIMITED", 1));
            let wanted: Vec<_> = [kind].into_iter().chain(limits).chain([("ROWS", tile), ("SHARE", share)]).collect();
            let constants = shader.tunings.iter().find(|tuning| **tuning == wanted).copied().unwrap_or_default();
            let groups = [batch, heads, query_count.div_ceil(tile), chunks].map(u64::from).iter().product::<u64>();
            lowering.dispatch(Call {
                shader,
                header,
                constants,
                slots: &[queries, keys, values, lengths, query_lengths, bias, partial, facts],
                params: params(groups, chunks),
                groups,
            })?;
            let elements = [batch, heads, query_count, v].map(u64::from).iter().product::<u64>();
            return lowering.dispatch(Call {
                shader: &ATTENTION_FEW_MERGE,
                header,
                constants: &[],
                slots: &[partial, facts, attended, lse],
                params: params(elements, chunks),
                groups: elements.div_ceil(64),
            });
        }
        let chunks = if form == Form::Staged { value_channels.div_ceil(64) } else { v.div_ceil(16) }.max(1);
        let rows_of_group = if form == Form::Subgroup { 16 } else { 64 };
        let groups = [batch, heads, query_count.div_ceil(rows_of_group), chunks].map(u64::from).iter().product::<u64>();
        lowering.dispatch(Call {
            shader: &ATTENTION,
            header,
            constants: ATTENTION.tunings[if limited { 2 } else { usize::from(biased) }],
            slots: &[queries, keys, values, lengths, query_lengths, bias, attended, lse],
            params: params(groups, chunks),
            groups,
        })
    }

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

    fn values(&self, kernel: &Attention) -> reference::Values<'_> {
        reference::Values {
            limits: kernel.limits(),
            values: &self.values,
            channels: self.geometry.value_channels as usize,
            bias: self.bias.as_ref().map(|(bias, strides)| (bias.as_slice(), *strides)),
        }
    }
}
