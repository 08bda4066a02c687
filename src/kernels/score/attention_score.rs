//! The attention that keys receive, without the matrix of all weights.

use std::ops::Range;

use crate::compare::Comparison;
use crate::device::{BindingElem, Call, Header, Include, Lowering, Shader, Slot, params};
use crate::error::Error;
use crate::graph::{Graph, Kernel, Tensor};
use crate::kernels::operands::{alone, live_of_attention, scale_of, team};
use crate::reference;
use crate::tensor::{Desc, Elem, HostTensor, Shape};

pub use crate::reference::{HeadReduction, Norm, Queries, RowReduction};

params! {
    /// The passes share their parameters; each reads some.
    struct Params {
        /// Workgroups of the dispatch.
        groups: u32,
        batch: u32,
        /// Heads that are computed, and the first of them.
        heads: u32,
        head_first: u32,
        all_heads: u32,
        key_heads: u32,
        query_count: u32,
        key_count: u32,
        /// In units of the header's `elem`.
        channels: u32,
        /// Query rows asked for, and whether they are all there are.
        rows: u32,
        every_row: u32,
        causal: u32,
        biased: u32,
        norm: u32,
        row_reduction: u32,
        head_reduction: u32,
        /// Heads of the score, among those computed.
        pick_first: u32,
        pick_count: u32,
        column_first: u32,
        columns: u32,
        /// Parts that the last pass reduces: rows of stored logits, or chunks.
        parts_count: u32,
        stored: u32,
        /// Into how many chunks the rows are cut at most.
        chunks: u32,
        /// Keys of a workgroup where logits are stored, and whether it makes its row's sum.
        block: u32,
        with_sums: u32,
        /// Rows whose log-sum-exp the last pass writes.
        lse_rows: u32,
        scale: f32,
    }
}

use BindingElem::{F32, U32};

const QUERIES: (&str, BindingElem) = ("queries", BindingElem::Elem);
const KEYS: (&str, BindingElem) = ("keys", BindingElem::Elem);
const LENGTHS: (&str, BindingElem) = ("lengths", U32);
const QUERY_LENGTHS: (&str, BindingElem) = ("query_lengths", U32);
const BIAS: (&str, BindingElem) = ("bias", F32);
const LIST: (&str, BindingElem) = ("list", U32);
const SUMS: (&str, BindingElem) = ("sums", F32);

const FLOATS: &[Header] = &[Header::F32, Header::F16, Header::F32x4, Header::F16x4];

pub(super) static LOGITS: Shader = Shader {
    name: "attention_score.logits",
    source: include_str!("../../../shaders/score/attention_score/attention_score.logits.wgsl"),
    includes: &[
        Include::Reduce,
        Include::Team,
        Include::Softmax,
        Include::AttentionRows,
        Include::AttentionBases,
        Include::AttentionSums,
        Include::Products,
    ],
    headers: FLOATS,
    inputs: &[QUERIES, KEYS, LENGTHS, QUERY_LENGTHS, BIAS, LIST],
    outputs: &[("logits", F32), SUMS],
    params: Params::NAMES,
    tunings: &[&[]],
};

pub(super) static LOGITS_ALONE: Shader = Shader {
    name: "attention_score.logits.alone",
    includes: &[
        Include::Alone,
        Include::Softmax,
        Include::AttentionRows,
        Include::AttentionBases,
        Include::AttentionSums,
        Include::Products,
    ],
    ..LOGITS
};

pub(super) static STORED_SUMS: Shader = Shader {
    name: "attention_score.sums",
    source: include_str!("../../../shaders/score/attention_score/attention_score.sums.wgsl"),
    includes: &[Include::Reduce, Include::Team, Include::Softmax, Include::AttentionRows, Include::AttentionSums],
    headers: &[Header::F32],
    // What passes between the workspace and itself is `read_write` in any case.
    inputs: &[],
    outputs: &[("logits", F32), LENGTHS, QUERY_LENGTHS, BIAS, LIST, SUMS],
    params: Params::NAMES,
    tunings: &[&[]],
};

pub(super) static ROW_SUMS: Shader = Shader {
    name: "attention_score.row_sums",
    source: include_str!("../../../shaders/score/attention_score/attention_score.row_sums.wgsl"),
    includes: &[
        Include::Softmax,
        Include::AttentionRows,
        Include::AttentionBases,
        Include::AttentionPlace,
        Include::KeptLogits,
        Include::AttentionTile,
        Include::TileLanes,
        Include::LaneNumbers,
        Include::Products,
        Include::Tile,
        Include::RowFacts,
    ],
    headers: FLOATS,
    inputs: &[QUERIES, KEYS, LENGTHS, QUERY_LENGTHS, BIAS, LIST],
    outputs: &[SUMS, ("logits", BindingElem::F32x4)],
    params: Params::NAMES,
    tunings: &[&[("KEPT", 0)], &[("KEPT", 1)]],
};

pub(super) static COLUMNS: Shader = Shader {
    name: "attention_score.columns",
    source: include_str!("../../../shaders/score/attention_score/attention_score.columns.wgsl"),
    includes: &[
        Include::Softmax,
        Include::AttentionRows,
        Include::AttentionBases,
        Include::AttentionPlace,
        Include::AttentionTile,
        Include::TileLanes,
        Include::LaneNumbers,
        Include::Products,
        Include::Tile,
        Include::RowFacts,
        Include::AttentionColumns,
    ],
    headers: FLOATS,
    inputs: &[],
    outputs: &[QUERIES, KEYS, LENGTHS, QUERY_LENGTHS, BIAS, LIST, SUMS, ("partials", F32)],
    params: Params::NAMES,
    tunings: &[&[]],
};

pub(super) static KEPT_COLUMNS: Shader = Shader {
    name: "attention_score.kept_columns",
    source: include_str!("../../../shaders/score/attention_score/attention_score.kept_columns.wgsl"),
    includes: &[
        Include::Softmax,
        Include::AttentionRows,
        Include::AttentionPlace,
        Include::KeptLogits,
        Include::TileLanes,
        Include::LaneNumbers,
        Include::RowFacts,
        Include::AttentionColumns,
    ],
    headers: &[Header::F32x4],
    inputs: &[],
    outputs: &[("logits", BindingElem::Elem), LENGTHS, QUERY_LENGTHS, BIAS, LIST, SUMS, ("partials", F32)],
    params: Params::NAMES,
    tunings: &[&[]],
};

pub(super) static SCORE: Shader = Shader {
    name: "attention_score",
    source: include_str!("../../../shaders/score/attention_score/attention_score.wgsl"),
    includes: &[Include::Softmax, Include::AttentionRows],
    headers: &[Header::F32],
    inputs: &[("parts", F32), SUMS, LENGTHS, QUERY_LENGTHS, BIAS, LIST],
    outputs: &[("score", F32), ("lse", F32)],
    params: Params::NAMES,
    tunings: &[&[]],
};

/// The importance of keys: the attention that they receive from some of the query rows.
///
/// ```text
/// s[b,h,i,j]   = scale * queries[b,h,i] . keys[b, h / (H / Hkv), j] + bias[b,j]
/// w[b,h,i,j]   = q . k   or   |q . k|   or   s   or   exp(s[b,h,i,j] - m[b,h,i]) / sum_j exp(s[b,h,i,j] - m[b,h,i]),     m[b,h,i] = max_j s[b,h,i,j]
/// score[b,j]   = heads_h rows_i w[b,h,i,j]
/// ```
///
/// The softmax runs over all live keys that the row sees, even where only a slice of them is reported
/// ([`columns`](Self::columns)).
///
/// The default is EViT's score: the softmax of query row 0 ([`Queries::CLASS`], the class token's), mean over heads. Without a class
/// token (SigLIP), name other rows.
///
/// | score | [`queries`](Self::queries) | [`norm`](Self::norm) | [`rows`](Self::rows) |
/// |---|---|---|---|
/// | EViT, `https://arxiv.org/abs/2202.07800` | [`Queries::CLASS`] | [`Norm::Softmax`] | one row |
/// | IdleViT | [`Queries::CLASS`] | [`Norm::Logits`] | one row |
/// | FastV, `https://arxiv.org/abs/2403.06764` | [`Queries::Last`] | [`Norm::Softmax`] | one row |
/// | H2O and SnapKV, the attention that they collect | [`Queries::All`] | [`Norm::Softmax`] | [`RowReduction::Sum`] |
///
/// The guide compacts a KV cache as SnapKV does.
///
/// - The weights of a dead row count as nothing, and so do those of a key that the row does not see. They are 0 in a sum, and a
///   maximum skips them. A key that is dead, or that no row sees, scores 0.
/// - A bias of negative infinity hides its key from all rows, whatever the norm. What a hidden or dead key holds does not matter.
/// - A bias of `f32::MIN` or -1e9 hides nothing: keys that all have it share their row.
/// - A row that sees nothing gives 0 to every key, and its log-sum-exp is negative infinity. PyTorch's softmax is NaN there; the
///   difference is on purpose.
/// - Logits saturate at the largest float.
/// - A NaN among the logits that a row sees makes all that the row gives NaN. NaN wins in a maximum, as in PyTorch.
///
/// Cost, for R query rows, N keys and D channels:
///
/// - Up to 16 rows: two dispatches (three beyond 4096 keys), `2 R N D` operations a head, and a workspace of `R N` floats a head,
///   at most 64 MiB a batch row.
/// - More rows: three dispatches, `4 R N D` operations a head, and a workspace of at most `2 R + 8 N` floats a head. Logits need
///   no softmax: two dispatches and `2 R N D` operations.
/// - For many rows the matrix `R x N` is in memory only if you ask for each row by itself ([`RowReduction::None`]), or if it is small: at
///   most 256 KiB for all heads of a batch row, on a CPU 32 MiB.
///
/// ```
/// use tokenpress::kernels::{AttentionInputs, AttentionScore, Norm, Queries};
/// use tokenpress::{Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// let queries = graph.constant(HostTensor::f32([1, 1, 2, 1], vec![9.0, 2.0]));
/// let keys = graph.constant(HostTensor::f32([1, 1, 3, 1], vec![1.0, 3.0, 4.0]));
/// // The plain logits of the last query, which is 2.
/// let last = AttentionScore { queries: Queries::Last, norm: Norm::Logits, ..Default::default() };
/// let score = last.build(&mut graph, AttentionInputs::new(queries, keys))?.score;
/// graph.output("score", score)?;
/// assert_eq!(graph.run_reference(&[].into())?["score"].floats(), [2.0, 6.0, 8.0]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[doc(alias("attention", "importance", "softmax", "H2O", "SnapKV"))]
#[derive(Debug, Clone, PartialEq)]
pub struct AttentionScore {
    /// Query rows whose attention counts. The default is row 0, which is the class token's ([`Queries::CLASS`]).
    pub queries: Queries,
    /// What a row gives to a key: a logit or its softmax.
    pub norm: Norm,
    /// How rows become one.
    pub rows: RowReduction,
    /// How heads become one, after the rows.
    pub heads: HeadReduction,
    /// Right-aligned: key j is visible to query i iff `j <= i + live keys - live queries`.
    pub causal: bool,
    /// Factor of the dot products; `1 / sqrt(D)` for `None`.
    pub scale: Option<f32>,
    /// The keys that are reported; all for `None`.
    pub columns: Option<Range<u32>>,
    /// Whether the rows' log-sum-exp is an output too.
    pub lse: bool,
}

/// EViT's: the class token's softmax attention (query row 0), mean over heads.
impl Default for AttentionScore {
    fn default() -> Self {
        Self {
            queries: Queries::CLASS,
            norm: Norm::Softmax,
            rows: RowReduction::Mean,
            heads: HeadReduction::Mean,
            causal: false,
            scale: None,
            columns: None,
            lse: false,
        }
    }
}

/// What [`AttentionScore::build`] reads.
#[derive(Debug, Clone, Copy)]
pub struct AttentionInputs {
    /// `[B, H, M, D]`, f32, f16 or bf16.
    pub queries: Tensor,
    /// `[B, Hkv, N, D]` of the same element type; H is a multiple of Hkv, and head h attends to head `h / (H / Hkv)`.
    pub keys: Tensor,
    /// f32 `[B, N]`, added to the scaled logits: the logarithm of the tokens' sizes makes proportional attention. Negative infinity hides a
    /// key from all rows, `f32::MIN` does not; a row that sees nothing gives 0.
    pub bias: Option<Tensor>,
    /// u32 `[B]`: live keys. All for `None`.
    pub lengths: Option<Tensor>,
    /// u32 `[B]`: live query rows. For `None` as many as keys where M is N, and all otherwise.
    pub query_lengths: Option<Tensor>,
}

impl AttentionInputs {
    /// Queries and keys alone: no bias, and all of them live.
    pub fn new(queries: Tensor, keys: Tensor) -> Self {
        Self { queries, keys, bias: None, lengths: None, query_lengths: None }
    }
}

/// What [`AttentionScore::build`] gives.
#[derive(Debug, Clone, Copy)]
pub struct Importance {
    /// f32 `[B, columns]`; `[B, H, columns]` for [`HeadReduction::None`], `[B, R, columns]` for [`RowReduction::None`], and
    /// `[B, H, R, columns]` for both.
    pub score: Tensor,
    /// f32 `[B, H, R]`, if asked for: natural-log row log-sum-exp of the scaled logits, negative infinity for rows that are dead or see
    /// nothing.
    pub lse: Option<Tensor>,
}

/// In the list of rows: the last live one.
const LAST: u32 = u32::MAX;

/// The largest number of rows whose logits are stored, and of such logits in a batch row.
const STORED_ROWS: u64 = 16;
const STORED_LOGITS: u64 = 1 << 24;

/// Logits of a batch row at most that are kept from the pass over rows for that over columns, with the same results to the bit. A CPU reads
/// one faster than it makes it; elsewhere it is what stays in any cache.
const KEPT_LOGITS: u64 = 1 << 16;
const KEPT_LOGITS_CPU: u64 = 1 << 23;

/// The longest row of stored logits that one workgroup makes; of longer ones each makes so many.
const ROW_KEYS: u32 = 4096;
const BLOCK_KEYS: u32 = 512;

/// Rows and keys of a workgroup.
const TILE: u64 = 64;

/// Rows of a chunk at least, chunks at most, and partial results of a batch row at most.
const CHUNK_ROWS: u64 = 128;
const CHUNKS: u64 = 8;
const PARTIALS: u64 = 1 << 24;

impl AttentionScore {
    /// Adds the call.
    ///
    /// # Errors
    /// [`Error::Shape`] and [`Error::Elem`] for tensors other than [`AttentionInputs`] says; [`Error::Value`] for a row, head or
    /// column that is not there, and for causal attention with more queries than keys.
    pub fn build(self, graph: &mut Graph, inputs: AttentionInputs) -> Result<Importance, Error> {
        let AttentionInputs { queries, keys, bias, lengths, query_lengths } = inputs;
        let [batch, _, query_count, _] = queries.shape().exactly("attention_score: queries", "[B, H, M, D]")?;
        let [_, _, key_count, _] = keys.shape().exactly("attention_score: keys", "[B, Hkv, N, D]")?;
        let [lengths, query_lengths] = live_of_attention(graph, batch, [query_count, key_count], lengths, query_lengths);
        if let Some(bias) = bias {
            bias.shape().exactly::<2>("attention_score: bias", "[B, N]")?;
        }
        // What stands in for an input that is not there is never read.
        let bias = bias.unwrap_or_else(|| graph.constant(HostTensor::f32([1], vec![0.0])));
        let list = self.list();
        let list = graph.constant(HostTensor::u32([list.len() as u32], list));
        let outputs = graph.call(self, &[queries, keys, lengths, query_lengths, bias, list])?;
        Ok(Importance { score: outputs[0], lse: outputs.get(1).copied() })
    }

    /// The old name of `build`.
    #[deprecated(note = "it is `build` now, as everywhere")]
    pub fn score(self, graph: &mut Graph, inputs: AttentionInputs) -> Result<Importance, Error> {
        self.build(graph, inputs)
    }

    /// The rows as the shaders read them: at least one.
    fn list(&self) -> Vec<u32> {
        match &self.queries {
            Queries::Row(row) => vec![*row],
            Queries::Last => vec![LAST],
            Queries::List(rows) if !rows.is_empty() => rows.clone(),
            Queries::List(_) | Queries::All => vec![0],
        }
    }

    fn geometry(&self, inputs: &[Desc]) -> Result<Geometry, Error> {
        let [batch, heads, query_count, channels] = inputs[0].shape.exactly("attention_score: queries", "[B, H, M, D]")?;
        let expected = || format!("[{batch}, Hkv, N, {channels}] with {heads} a multiple of Hkv");
        let [key_batch, key_heads, key_count, key_channels] = inputs[1].shape.exactly("attention_score: keys", "[B, Hkv, N, D]")?;
        let grouped = if key_heads == 0 { heads == 0 } else { heads.is_multiple_of(key_heads) };
        if (key_batch, key_channels) != (batch, channels) || !grouped {
            return Err(Error::Shape { argument: "attention_score: keys", expected: expected(), actual: inputs[1].shape });
        }
        let rows = self.queries.count(query_count as usize) as u32;
        let columns = self.columns.clone().unwrap_or(0..key_count);
        Ok(Geometry { batch, heads, key_heads, query_count, key_count, channels, rows, columns })
    }
}

/// Sizes of a call.
struct Geometry {
    batch: u32,
    heads: u32,
    key_heads: u32,
    query_count: u32,
    key_count: u32,
    channels: u32,
    rows: u32,
    columns: Range<u32>,
}

fn value_error(argument: &'static str, expected: String, actual: String) -> Error {
    Error::Value { argument, expected, actual }
}

fn check(argument: &'static str, desc: Desc, shape: Shape, elem: Elem, elem_name: &'static str) -> Result<(), Error> {
    if desc.elem != elem {
        return Err(Error::Elem { argument, expected: elem_name, actual: desc.elem });
    }
    if desc.shape != shape {
        return Err(Error::Shape { argument, expected: shape.to_string(), actual: desc.shape });
    }
    Ok(())
}

fn is_biased(inputs: &[Desc]) -> bool {
    inputs[4].shape.dims() != [1]
}

impl Kernel for AttentionScore {
    fn name(&self) -> &'static str {
        "attention_score"
    }

    fn output_names(&self) -> &'static [&'static str] {
        &["score", "lse"]
    }

    fn input_count(&self) -> std::ops::RangeInclusive<usize> {
        6..=6
    }

    fn outputs(&self, inputs: &[Desc]) -> Result<Vec<Desc>, Error> {
        let Geometry { batch, heads, query_count, key_count, rows, columns, .. } = self.geometry(inputs)?;
        let elem = inputs[0].elem;
        if !elem.is_float() {
            return Err(Error::Elem { argument: "attention_score: queries", expected: "f32, f16 or bf16", actual: elem });
        }
        check("attention_score: keys", inputs[1], inputs[1].shape, elem, "the queries' element type")?;
        check("attention_score: lengths", inputs[2], [batch].into(), Elem::U32, "u32")?;
        check("attention_score: query_lengths", inputs[3], [batch].into(), Elem::U32, "u32")?;
        let bias = if is_biased(inputs) { [batch, key_count].into() } else { inputs[4].shape };
        check("attention_score: bias", inputs[4], bias, Elem::F32, "f32")?;
        let listed = self.list().len() as u32;
        check("attention_score: list", inputs[5], [listed].into(), Elem::U32, "u32")?;
        // Of no rows at all, any is as dead as another.
        let there = |row: u32| row < query_count.max(1);
        let missing = match &self.queries {
            Queries::Row(row) => Some(*row).filter(|row| !there(*row)),
            Queries::List(rows) => rows.iter().copied().find(|row| !there(*row)),
            Queries::Last | Queries::All => None,
        };
        if let Some(row) = missing {
            return Err(value_error("attention_score: queries", format!("rows below {query_count}"), row.to_string()));
        }
        let no_head = match self.heads {
            HeadReduction::One(head) => Some(head).filter(|head| *head >= heads),
            _ => None,
        };
        if let Some(head) = no_head {
            return Err(value_error("attention_score: heads", format!("a head below {heads}"), head.to_string()));
        }
        if columns.start > columns.end || columns.end > key_count {
            return Err(value_error("attention_score: columns", format!("a range within 0..{key_count}"), format!("{columns:?}")));
        }
        if self.causal && query_count > key_count {
            let actual = format!("{query_count} queries");
            return Err(value_error("attention_score: causal", format!("at most as many queries as keys ({key_count})"), actual));
        }
        let width = columns.end - columns.start;
        let score: Shape = match (self.heads, self.rows) {
            (HeadReduction::None, RowReduction::None) => [batch, heads, rows, width].into(),
            (HeadReduction::None, _) => [batch, heads, width].into(),
            (_, RowReduction::None) => [batch, rows, width].into(),
            _ => [batch, width].into(),
        };
        let mut outputs = vec![Desc::new(score, Elem::F32)];
        if self.lse {
            outputs.push(Desc::new([batch, heads, rows], Elem::F32));
        }
        Ok(outputs)
    }

    fn reference(&self, inputs: &[&HostTensor]) -> Vec<HostTensor> {
        let operands = Operands::of(self, inputs);
        let (attention, scoring) = (operands.attention(), operands.scoring(self));
        let outputs = self.outputs(&operands.descs).unwrap_or_default();
        let mut values = vec![reference::attention_score(&attention, &scoring)];
        if self.lse {
            values.push(reference::attention_lse(&attention, &self.queries));
        }
        outputs.iter().zip(values).map(|(desc, values)| HostTensor::f32(desc.shape, values)).collect()
    }

    fn compare(&self, inputs: &[&HostTensor], expected: &[HostTensor], actual: &[HostTensor]) -> Vec<Comparison> {
        let operands = Operands::of(self, inputs);
        let (attention, scoring) = (operands.attention(), operands.scoring(self));
        let mut bounds = vec![reference::attention_score_bound(&attention, &scoring)];
        if self.lse {
            bounds.push(reference::attention_lse_bound(&attention, &self.queries));
        }
        expected.iter().zip(actual).zip(&bounds).map(|((e, a), bound)| Comparison::within(e, a, bound)).collect()
    }

    fn batched_inputs(&self, inputs: &[Desc]) -> Option<Vec<bool>> {
        Some(vec![true, true, true, true, is_biased(inputs), false])
    }

    fn flops(&self, inputs: &[Desc]) -> u64 {
        let dims = |i: usize| inputs[i].shape.dims().iter().map(|&d| u64::from(d)).collect::<Vec<_>>();
        let (queries, keys) = (dims(0), dims(1));
        let heads = if matches!(self.heads, HeadReduction::One(_)) { 1 } else { queries[1] };
        2 * queries[0] * heads * self.queries.count(queries[2] as usize) as u64 * keys[2] * queries[3]
    }

    fn bytes(&self, inputs: &[Desc], outputs: &[Desc]) -> u64 {
        // Of the queries, the rows asked for.
        let rows = u64::from(inputs[0].shape.dims()[2]).max(1);
        let asked = (self.queries.count(rows as usize) as u64).min(rows);
        inputs[0].bytes() / rows * asked + inputs[1..].iter().chain(outputs).map(Desc::bytes).sum::<u64>()
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<(), Error> {
        let descs: Vec<_> = (0..lowering.inputs()).map(|i| lowering.input(i)).collect();
        let Geometry { batch, heads: all_heads, key_heads, query_count, key_count, channels, rows, columns } = self.geometry(&descs)?;
        let [queries, keys, lengths, query_lengths, bias, list] = std::array::from_fn(Slot::Input);
        let (header, [queries, keys]) = lowering.vectors(descs[0].elem, channels, [queries, keys]);
        let width = columns.end - columns.start;
        let picked = self.heads.picked(all_heads as usize);
        let computed = if self.lse { 0..all_heads as usize } else { picked.clone() };
        let heads = computed.len() as u32;

        let [b, h, r, n, w] = [batch, heads, rows, key_count, width].map(u64::from);
        let stored = self.rows == RowReduction::None || (r <= STORED_ROWS && h * r * n <= STORED_LOGITS);
        let chunks = (PARTIALS / (h * w).max(1)).clamp(1, CHUNKS);
        let parts = if stored { r } else { r.div_ceil(CHUNK_ROWS).min(chunks) };
        let needs_sums = self.lse || self.norm == Norm::Softmax;
        let whole = key_count <= ROW_KEYS;
        let block = if whole { ROW_KEYS } else { BLOCK_KEYS };
        let params = |groups: u64| Params {
            groups: groups as u32,
            batch,
            heads,
            head_first: computed.start as u32,
            all_heads,
            key_heads,
            query_count,
            key_count,
            channels: channels / header.width(),
            rows,
            every_row: (self.queries == Queries::All).into(),
            causal: self.causal.into(),
            biased: is_biased(&descs).into(),
            norm: match self.norm {
                Norm::Logits => 0,
                Norm::ScaledLogits => 1,
                Norm::Softmax => 2,
                Norm::Magnitude => 3,
            },
            row_reduction: match self.rows {
                RowReduction::Mean => 0,
                RowReduction::MeanVisible => 1,
                RowReduction::Sum => 2,
                RowReduction::Max => 3,
                RowReduction::None => 4,
            },
            head_reduction: match self.heads {
                HeadReduction::Mean => 0,
                HeadReduction::Sum | HeadReduction::One(_) => 1,
                HeadReduction::Max => 2,
                HeadReduction::None => 4,
            },
            pick_first: (picked.start - computed.start) as u32,
            pick_count: picked.len() as u32,
            column_first: columns.start,
            columns: width,
            parts_count: parts as u32,
            stored: stored.into(),
            chunks: chunks as u32,
            block,
            with_sums: (needs_sums && whole).into(),
            lse_rows: if self.lse { (b * h * r) as u32 } else { 0 },
            scale: scale_of(self.scale, channels),
        };
        let sums = lowering.scratch(if needs_sums { 2 * b * h * r } else { 0 }, Elem::F32);
        let nothing = lowering.scratch(0, Elem::F32);
        let dispatch = |lowering: &mut Lowering<'_>, shader: &'static Shader, tuning: usize, header, slots: &[Slot], groups| {
            let constants = shader.tunings[tuning];
            lowering.dispatch(Call { shader, header, constants, slots, params: params(groups), groups })
        };
        let values = if stored {
            let logits = lowering.scratch(b * h * r * n, Elem::F32);
            let slots = [queries, keys, lengths, query_lengths, bias, list, logits, sums];
            let blocks = b * h * r * n.max(1).div_ceil(block.into());
            let (shader, groups) = team(alone(key_count, key_count.into(), channels), &LOGITS, &LOGITS_ALONE, blocks);
            let constants = shader.tunings[0];
            lowering.dispatch(Call { shader, header, constants, slots: &slots, params: params(blocks), groups })?;
            if needs_sums && !whole {
                let slots = [logits, lengths, query_lengths, bias, list, sums];
                dispatch(lowering, &STORED_SUMS, 0, Header::F32, &slots, b * h * r)?;
            }
            logits
        } else {
            let tiles = b * h * r.div_ceil(TILE);
            let column_tiles = b * h * parts * w.div_ceil(TILE);
            let partials = lowering.scratch(parts * b * h * w, Elem::F32);
            let kept = h * r.next_multiple_of(16) * n.next_multiple_of(32);
            let most = if lowering.capabilities().software { KEPT_LOGITS_CPU } else { KEPT_LOGITS };
            if needs_sums && kept <= most && columns.start.is_multiple_of(4) {
                let logits = lowering.scratch(b * kept, Elem::F32);
                let slots = [queries, keys, lengths, query_lengths, bias, list, sums, logits];
                dispatch(lowering, &ROW_SUMS, 1, header, &slots, tiles)?;
                let slots = [logits, lengths, query_lengths, bias, list, sums, partials];
                dispatch(lowering, &KEPT_COLUMNS, 0, Header::F32x4, &slots, column_tiles)?;
            } else {
                if needs_sums {
                    let slots = [queries, keys, lengths, query_lengths, bias, list, sums, nothing];
                    dispatch(lowering, &ROW_SUMS, 0, header, &slots, tiles)?;
                }
                let slots = [queries, keys, lengths, query_lengths, bias, list, sums, partials];
                dispatch(lowering, &COLUMNS, 0, header, &slots, column_tiles)?;
            }
            partials
        };
        let lse = if self.lse { Slot::Output(1) } else { nothing };
        let slots = [values, sums, lengths, query_lengths, bias, list, Slot::Output(0), lse];
        let elements = lowering.output(0).shape.elements().max(if self.lse { b * h * r } else { 0 });
        dispatch(lowering, &SCORE, 0, Header::F32, &slots, elements.div_ceil(128))
    }
}

/// Largest logit and sum of exponentials of every query row, `[2, B, H, M]`, for an attention of M rows over as many keys: the wide pass
/// alone. `shape` is `[B, H, Hkv, M, D]`, with D in the header's `elem`s.
pub(super) fn square_sums(
    lowering: &mut Lowering<'_>,
    header: Header,
    [queries, keys, lengths, sums]: [Slot; 4],
    [batch, heads, key_heads, frames, channels]: [u32; 5],
    scale: f32,
) -> Result<(), Error> {
    let groups = [batch, heads, frames.div_ceil(TILE as u32)].map(u64::from).iter().product();
    let params = Params {
        groups: groups as u32,
        batch,
        heads,
        head_first: 0,
        all_heads: heads,
        key_heads,
        query_count: frames,
        key_count: frames,
        channels,
        rows: frames,
        every_row: 1,
        causal: 0,
        biased: 0,
        norm: 2,
        row_reduction: 0,
        head_reduction: 0,
        pick_first: 0,
        pick_count: heads,
        column_first: 0,
        columns: frames,
        parts_count: 1,
        stored: 0,
        chunks: 1,
        block: BLOCK_KEYS,
        with_sums: 0,
        lse_rows: 0,
        scale,
    };
    let nothing = lowering.scratch(0, Elem::F32);
    // The bias and the list of rows are never read.
    let slots = [queries, keys, lengths, lengths, lengths, lengths, sums, nothing];
    lowering.dispatch(Call { shader: &ROW_SUMS, header, constants: ROW_SUMS.tunings[0], slots: &slots, params, groups })
}

/// Inputs on the host, as the reference takes them.
struct Operands<'a> {
    descs: Vec<Desc>,
    geometry: Geometry,
    queries: Vec<f32>,
    keys: Vec<f32>,
    bias: Option<Vec<f32>>,
    lengths: &'a [u32],
    query_lengths: &'a [u32],
    scale: f32,
    causal: bool,
}

impl<'a> Operands<'a> {
    /// Of inputs whose shapes were checked when the call was made.
    fn of(kernel: &AttentionScore, inputs: &[&'a HostTensor]) -> Self {
        let descs: Vec<_> = inputs.iter().map(|t| t.desc()).collect();
        let geometry = kernel.geometry(&descs).unwrap_or_else(|error| panic!("{error}"));
        Self {
            scale: scale_of(kernel.scale, geometry.channels),
            causal: kernel.causal,
            geometry,
            queries: inputs[0].floats(),
            keys: inputs[1].floats(),
            bias: is_biased(&descs).then(|| inputs[4].floats()),
            lengths: inputs[2].integers(),
            query_lengths: inputs[3].integers(),
            descs,
        }
    }

    fn attention(&self) -> reference::Attention<'_> {
        reference::Attention {
            queries: &self.queries,
            keys: &self.keys,
            bias: self.bias.as_deref(),
            lengths: self.lengths,
            query_lengths: self.query_lengths,
            heads: self.geometry.heads as usize,
            key_heads: self.geometry.key_heads as usize,
            query_count: self.geometry.query_count as usize,
            key_count: self.geometry.key_count as usize,
            channels: self.geometry.channels as usize,
            scale: self.scale,
            causal: self.causal,
        }
    }

    fn scoring<'k>(&self, kernel: &'k AttentionScore) -> reference::Scoring<'k> {
        let columns = &self.geometry.columns;
        reference::Scoring {
            queries: &kernel.queries,
            norm: kernel.norm,
            rows: kernel.rows,
            heads: kernel.heads,
            columns: columns.start as usize..columns.end as usize,
        }
    }
}
