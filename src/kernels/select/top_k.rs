//! The first k of each row.

use crate::compare::Comparison;
use crate::device::{BindingElem, Call, Form, Header, Include, Lowering, Shader, Slot, params};
use crate::error::Error;
use crate::graph::{Graph, Kernel, Tensor, expect_listed};
use crate::reference;
pub use crate::reference::mark;
use crate::tensor::{Desc, Elem, HostTensor, NONE};

params! {
    struct RowParams {
        rows: u32, tokens: u32, k: u32, span: u32, rows_per_length: u32, rows_per_count: u32, marked: u32, marks_stride: u32,
        smallest: u32, by_index: u32, rest_kind: u32, capacity: u32,
    }
}

params! {
    struct KeyParams {
        groups: u32, tokens: u32, k: u32, chunk: u32, chunks: u32, stride: u32, rows_per_length: u32, rows_per_count: u32, marked: u32,
        marks_stride: u32, smallest: u32, with_digits: u32,
    }
}

params! {
    struct DigitParams { groups: u32, tokens: u32, chunk: u32, chunks: u32, stride: u32, level: u32, end_level: u32 }
}

params! {
    struct EmitParams {
        groups: u32, tokens: u32, k: u32, capacity: u32, chunk: u32, chunks: u32, stride: u32, with_values: u32, with_complement: u32,
        each_kind: u32, only_selected: u32,
    }
}

params! {
    struct SortParams { groups: u32, tokens: u32, entries: u32, runs: u32, span: u32, listed: u32 }
}

params! {
    struct MergeParams { groups: u32, entries: u32, chunks: u32, run: u32 }
}

params! {
    struct FinishParams {
        groups: u32, tokens: u32, entries: u32, k: u32, capacity: u32, chunks: u32, stride: u32, with_indices: u32,
        with_complement: u32, each_kind: u32,
    }
}

params! {
    struct OrderParams { rows: u32, tokens: u32, k: u32, span: u32, with_places: u32 }
}

/// Longest row whose tokens count their ranks.
const COUNTED: u32 = 64;

/// Longest row that one workgroup selects from without sorting it, and most tokens that it sorts then.
const SELECTED: u32 = 1024;
const RANKED: u32 = 256;

/// Longest row that one workgroup sorts, and a run of a longer sort.
const BLOCK: u32 = 2048;

pub(super) static ROW: Shader = Shader {
    name: "top_k",
    source: include_str!("../../../shaders/select/top_k/top_k.wgsl"),
    includes: &[Include::Order, Include::Reduce, Include::Sort],
    headers: &[Header::F32, Header::F16],
    inputs: &[("scores", BindingElem::Elem), ("lengths", BindingElem::U32), ("counts", BindingElem::U32), ("marks", BindingElem::U32)],
    outputs: &[("indices", BindingElem::U32), ("values", BindingElem::F32), ("kept", BindingElem::U32), ("rest", BindingElem::U32)],
    params: RowParams::NAMES,
    // Rows of at most 256, 1024 and 2048 tokens: 2, 7 and 13 KiB of workgroup memory.
    tunings: &[&[("WG", 32), ("PAIRS", 128)], &[("WG", 128), ("PAIRS", 512)], &[("WG", 128), ("PAIRS", 1024)]],
};

pub(super) static COUNT: Shader = Shader {
    name: "top_k.count",
    source: include_str!("../../../shaders/select/top_k/top_k.count.wgsl"),
    includes: &[Include::Order],
    tunings: &[&[]],
    ..ROW
};

pub(super) static SELECT: Shader = Shader {
    name: "top_k.select",
    source: include_str!("../../../shaders/select/top_k/top_k.select.wgsl"),
    includes: &[Include::Order, Include::Reduce],
    // 32 tokens an invocation.
    tunings: &[&[("WG", 32)]],
    ..ROW
};

pub(super) static KEY: Shader = Shader {
    name: "top_k.key",
    source: include_str!("../../../shaders/select/top_k/top_k.key.wgsl"),
    includes: &[Include::Order, Include::Reduce, Include::TopKDigits, Include::TopKBins],
    outputs: &[("keys", BindingElem::U32), ("memory", BindingElem::U32)],
    params: KeyParams::NAMES,
    // For GPUs and for CPUs.
    tunings: &[&[("WG", 256), ("BIN_WORDS", 2048)], &[("WG", 256), ("BIN_WORDS", 1024)]],
    ..ROW
};

// The following passes that work on scratch memory alone have no inputs: all of it lies in one workspace buffer, so that
// everything that they bind is declared `read_write` in any case.

pub(super) static DIGIT: Shader = Shader {
    name: "top_k.digit",
    source: include_str!("../../../shaders/select/top_k/top_k.digit.wgsl"),
    headers: &[Header::U32],
    inputs: &[],
    outputs: &[("keys", BindingElem::U32), ("memory", BindingElem::U32), ("list", BindingElem::U32), ("kept", BindingElem::U32)],
    params: DigitParams::NAMES,
    ..KEY
};

pub(super) static EMIT: Shader = Shader {
    name: "top_k.emit",
    source: include_str!("../../../shaders/select/top_k/top_k.emit.wgsl"),
    includes: &[Include::Reduce, Include::TopKDigits],
    headers: &[Header::F32, Header::F16],
    inputs: &[("keys", BindingElem::U32), ("scores", BindingElem::Elem), ("memory", BindingElem::U32), ("list", BindingElem::U32)],
    outputs: &[("indices", BindingElem::U32), ("values", BindingElem::F32), ("complement", BindingElem::U32), ("each", BindingElem::U32)],
    params: EmitParams::NAMES,
    tunings: &[&[("WG", 256)]],
};

pub(super) static SORT: Shader = Shader {
    name: "top_k.sort",
    source: include_str!("../../../shaders/select/top_k/top_k.sort.wgsl"),
    includes: &[Include::Order, Include::Sort],
    headers: &[Header::U32],
    inputs: &[],
    outputs: &[("keys", BindingElem::U32), ("indices", BindingElem::U32), ("pairs", BindingElem::U32)],
    params: SortParams::NAMES,
    tunings: &[&[("PAIRS", BLOCK / 2)]],
};

pub(super) static MERGE: Shader = Shader {
    name: "top_k.merge",
    source: include_str!("../../../shaders/select/top_k/top_k.merge.wgsl"),
    includes: &[],
    outputs: &[("source", BindingElem::U32), ("merged", BindingElem::U32)],
    params: MergeParams::NAMES,
    tunings: &[&[]],
    ..SORT
};

pub(super) static FINISH: Shader = Shader {
    name: "top_k.finish",
    source: include_str!("../../../shaders/select/top_k/top_k.finish.wgsl"),
    headers: &[Header::F32, Header::F16],
    inputs: &[("pairs", BindingElem::U32), ("scores", BindingElem::Elem), ("memory", BindingElem::U32)],
    outputs: &[
        ("indices", BindingElem::U32),
        ("values", BindingElem::F32),
        ("kept", BindingElem::U32),
        ("complement", BindingElem::U32),
        ("each", BindingElem::U32),
    ],
    params: FinishParams::NAMES,
    ..MERGE
};

pub(super) static ORDER: Shader = Shader {
    name: "top_k.order",
    source: include_str!("../../../shaders/select/top_k/top_k.order.wgsl"),
    headers: &[Header::F32, Header::F16],
    inputs: &[("keys", BindingElem::U32), ("selected", BindingElem::U32), ("scores", BindingElem::Elem)],
    outputs: &[("indices", BindingElem::U32), ("values", BindingElem::F32), ("each", BindingElem::U32)],
    params: OrderParams::NAMES,
    ..SORT
};

/// How a list of tokens is ordered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Order {
    /// By rank: the first is the best.
    #[default]
    Value,
    /// By ascending index.
    Index,
}

/// Selects the `k` tokens of each row that come first in the crate's total order.
///
/// Protected tokens come first, by index. Then come scores from the largest (or the smallest) on. -0 equals +0, equal scores go
/// by lowest index, and NaN stands after every number. The result is exact and the same on every device, and a row's result does
/// not depend on the rows beside it.
///
/// - PyTorch's `topk` takes NaN first. Here it is last, on purpose: a broken token must not push out a sound one.
/// - Infinities are numbers. A token masked by negative infinity or `f32::MIN` is still a candidate, and is selected where too
///   few others are left.
/// - A mark of [`EXCLUDED`](mark::EXCLUDED), or a length, takes a token out, and its score does not matter. A row without
///   candidates selects none.
///
/// Cost of rows of up to 2048 tokens: one dispatch. If two of complement, mask and places are read it is two, if all three are read it is
/// three.
///
/// - Up to 64 tokens, each token counts those before it.
/// - Up to 1024, a workgroup finds the last key bit by bit: in an order by index, or by value with k up to 256, without a
///   complement by value.
/// - In all other cases a workgroup sorts the row.
///
/// Cost of longer rows: four dispatches (keys, a radix select of three digits, emission), three where one workgroup has a row. Scores and
/// keys are read once or twice; later passes look at those alone that may be selected. An order by value adds one dispatch that
/// sorts the k selected, or for k above 2048 a merge sort of `2 + ceil(log2(k / 2048))` dispatches. A complement by value, or
/// k = N, is a merge sort of the whole row. Workspace: 8 bytes a token, 12 KiB for each 2048 to 32768 tokens, 20 bytes a sorted token.
///
/// ```
/// use tokenpress::kernels::{TopK, TopKInputs};
/// use tokenpress::{Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// let scores = graph.constant(HostTensor::f32([1, 4], vec![3.0, 1.0, 9.0, 2.0]));
/// let best = TopK { k: 2, ..Default::default() }.build(&mut graph, TopKInputs::new(scores))?;
/// graph.output("indices", best.indices)?;
/// graph.output("values", best.values)?;
/// let out = graph.run_reference(&[].into())?;
/// assert_eq!(out["indices"].integers(), [2, 0]);
/// assert_eq!(out["values"].floats(), [9.0, 3.0]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[doc(alias("topk", "argsort", "sort", "argmax", "argmin"))]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TopK {
    /// How many to select at most: at most N.
    pub k: u32,
    /// Order of the selected.
    pub order: Order,
    /// The largest scores first; otherwise the smallest.
    pub largest: bool,
    /// Also list the live tokens that are not selected, in this order; by value, excluded ones come last.
    pub complement: Option<Order>,
    /// Also mark each token: 1 if it is selected, else 0. The mask may serve as [`marks`](TopKInputs::marks) of another selection, in which
    /// these tokens are then protected: 1 is [`mark::PROTECTED`].
    pub mask: bool,
}

impl Default for TopK {
    fn default() -> Self {
        Self { k: 1, order: Order::Value, largest: true, complement: None, mask: false }
    }
}

/// What [`TopK::build`] reads.
#[derive(Debug, Clone, Copy)]
pub struct TopKInputs {
    /// `[B, N]` or `[B, H, N]`, f32, f16 or bf16: one row for each b, or each b and h.
    pub scores: Tensor,
    /// Live tokens of each row: u32 `[B]`, or `[B, H]` or `[B * H]` with one for each row. More than N counts as N. All for `None`.
    pub lengths: Option<Tensor>,
    /// How many to select in each row: u32 in the shape of `lengths`; `k` for `None`. A row selects no more than `k`, and no more than it
    /// has candidates.
    pub counts: Option<Tensor>,
    /// A [`mark`] for each token, u32 `[N]` for all rows, or in the shape of `scores`.
    pub marks: Option<Tensor>,
}

impl TopKInputs {
    /// Scores alone.
    pub fn new(scores: Tensor) -> Self {
        Self { scores, lengths: None, counts: None, marks: None }
    }
}

/// What [`TopK::build`] gives. The dimensions before the last are those of the scores.
#[derive(Debug, Clone, Copy)]
pub struct Selection {
    /// `[.., k]` u32: the selected tokens, [`NONE`] after the last.
    pub indices: Tensor,
    /// `[.., k]` f32: their scores, 0 after the last.
    pub values: Tensor,
    /// `[..]` u32: how many are selected.
    pub kept: Tensor,
    /// `[.., capacity]` u32: the live tokens that are not selected, [`NONE`] after the last. The capacity is N - k if every row is known to
    /// select k: there are no lengths and no counts, and no marks or constant marks that leave k tokens to select. Otherwise it is N.
    pub complement: Option<Tensor>,
    /// `[.., N]` u32: 1 for the selected.
    pub mask: Option<Tensor>,
    /// `[.., N]` u32: where each token stands in `indices`; [`NONE`] for those that are not selected.
    pub places: Tensor,
}

impl TopK {
    /// Adds the selection to a graph.
    ///
    /// Errors: wrong shapes and element types, and `k` above N.
    pub fn build(self, graph: &mut Graph, inputs: TopKInputs) -> Result<Selection, Error> {
        let shape = inputs.scores.shape();
        let (batch, heads, tokens) = match *shape.dims() {
            [batch, tokens] => (batch, 1, tokens),
            [batch, heads, tokens] => (batch, heads, tokens),
            _ => return Err(Error::Shape { argument: "top_k: scores", expected: "[B, N] or [B, H, N]".to_owned(), actual: shape }),
        };
        let per_row = |graph: &mut Graph, tensor: Option<Tensor>, argument, fill: u32| match tensor {
            None => Ok(graph.filled([batch], fill)),
            Some(tensor) => match *tensor.shape().dims() {
                [rows] if rows == batch => Ok(tensor),
                [rows] if u64::from(rows) == u64::from(batch) * u64::from(heads) => graph.reshape(tensor, [batch, heads]),
                [b, h] if [b, h] == [batch, heads] => Ok(tensor),
                _ => Err(Error::Shape { argument, expected: format!("[{batch}] or [{batch}, {heads}]"), actual: tensor.shape() }),
            },
        };
        let lengths = per_row(graph, inputs.lengths, "top_k: lengths", tokens)?;
        let counts = per_row(graph, inputs.counts, "top_k: counts", self.k)?;
        let (marks, marked) = match inputs.marks {
            None => (graph.constant(HostTensor::u32([1], vec![0])), Marked::No),
            Some(marks) if *marks.shape().dims() == [tokens] => (marks, Marked::Shared),
            Some(marks) if marks.shape() == shape => (graph.reshape(marks, [batch, heads, tokens])?, Marked::PerRow),
            Some(marks) => {
                return Err(Error::Shape { argument: "top_k: marks", expected: format!("[{tokens}] or {shape}"), actual: marks.shape() });
            }
        };
        // Whether every row has as many as are asked for, as far as can be known now.
        let selectable = |row: &mut dyn Iterator<Item = u32>| row.filter(|m| *m != mark::EXCLUDED).count() >= self.k as usize;
        let enough = || match inputs.marks {
            None => true,
            Some(marks) if expect_listed("top_k: marks", marks.shape()).is_err() => false,
            Some(marks) => graph.known(marks).is_some_and(|known| {
                let mut entries = known.entries();
                let rows = marks.shape().elements().checked_div(u64::from(tokens)).unwrap_or(0);
                (0..rows).all(|_| selectable(&mut entries.by_ref().take(tokens as usize)))
            }),
        };
        let full = inputs.lengths.is_none() && inputs.counts.is_none() && enough();
        let scores = graph.reshape(inputs.scores, [batch, heads, tokens])?;
        let capacity = if full { tokens.saturating_sub(self.k) } else { tokens };
        let outputs = graph.call(Select { options: self, marked, capacity }, &[scores, lengths, counts, marks])?;

        let outer = &shape.dims()[..shape.dims().len() - 1];
        let reshaped = |tensor: Tensor, last: u32| match *outer {
            [batch] => graph.reshape(tensor, [batch, last]),
            _ => Ok(tensor),
        };
        let mut more = outputs[4..].iter().copied();
        Ok(Selection {
            indices: reshaped(outputs[0], self.k)?,
            values: reshaped(outputs[1], self.k)?,
            kept: if outer.len() == 1 { graph.reshape(outputs[2], [batch])? } else { outputs[2] },
            complement: self.complement.and_then(|_| more.next()).map(|t| reshaped(t, capacity)).transpose()?,
            mask: more.next().map(|t| reshaped(t, tokens)).transpose()?,
            places: reshaped(outputs[3], tokens)?,
        })
    }

    /// The old name of `build`.
    #[deprecated(note = "it is `build` now, as everywhere")]
    pub fn select(self, graph: &mut Graph, inputs: TopKInputs) -> Result<Selection, Error> {
        self.build(graph, inputs)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Marked {
    No,
    Shared,
    PerRow,
}

/// The kernel call: scores `[B, H, N]`, lengths and counts `[B]` or `[B, H]`, marks `[1]`, `[N]` or `[B, H, N]`.
#[derive(Debug, Clone, Copy)]
struct Select {
    options: TopK,
    marked: Marked,
    capacity: u32,
}

/// What a live token that is not selected becomes in the shader of short rows.
const REST_NOTHING: u32 = 0;
const REST_BY_RANK: u32 = 1;
const REST_BY_INDEX: u32 = 2;
const REST_MASK: u32 = 3;
const REST_PLACES: u32 = 4;

/// What long rows say of each token.
const EACH_NOTHING: u32 = 0;
const EACH_MASK: u32 = 1;
const EACH_PLACES: u32 = 2;

impl Kernel for Select {
    fn name(&self) -> &'static str {
        "top_k"
    }

    fn output_names(&self) -> &'static [&'static str] {
        match (self.options.complement, self.options.mask) {
            (None, false) => &["indices", "values", "kept", "places"],
            (None, true) => &["indices", "values", "kept", "places", "mask"],
            (Some(_), false) => &["indices", "values", "kept", "places", "complement"],
            (Some(_), true) => &["indices", "values", "kept", "places", "complement", "mask"],
        }
    }

    fn outputs(&self, inputs: &[Desc]) -> Result<Vec<Desc>, Error> {
        let [batch, heads, tokens] = inputs[0].shape.exactly("top_k: scores", "[B, H, N]")?;
        if !inputs[0].elem.is_float() {
            return Err(Error::Elem { argument: "top_k: scores", expected: "f32, f16 or bf16", actual: inputs[0].elem });
        }
        for (input, argument) in inputs[1..].iter().zip(["top_k: lengths", "top_k: counts", "top_k: marks"]) {
            if input.elem != Elem::U32 {
                return Err(Error::Elem { argument, expected: "u32", actual: input.elem });
            }
        }
        let k = self.options.k;
        if k > tokens {
            return Err(Error::Value { argument: "top_k: k", expected: format!("at most {tokens}"), actual: k.to_string() });
        }
        let mut outputs = vec![
            Desc::new([batch, heads, k], Elem::U32),
            Desc::new([batch, heads, k], Elem::F32),
            Desc::new([batch, heads], Elem::U32),
            Desc::new([batch, heads, tokens], Elem::U32),
        ];
        if self.options.complement.is_some() {
            outputs.push(Desc::new([batch, heads, self.capacity], Elem::U32));
        }
        if self.options.mask {
            outputs.push(Desc::new([batch, heads, tokens], Elem::U32));
        }
        Ok(outputs)
    }

    fn reference(&self, inputs: &[&HostTensor]) -> Vec<HostTensor> {
        let [batch, heads, tokens] = inputs[0].dims();
        let (scores, lengths, counts, marks) = (inputs[0].floats(), inputs[1].integers(), inputs[2].integers(), inputs[3].integers());
        let (k, capacity) = (self.options.k as usize, self.capacity as usize);
        let rows = batch * heads;
        let (mut indices, mut values, mut kept) = (vec![NONE; rows * k], vec![0.0; rows * k], vec![0; rows]);
        let (mut complement, mut mask, mut places) = (vec![NONE; rows * capacity], vec![0; rows * tokens], vec![NONE; rows * tokens]);
        for row in 0..rows {
            // One number for each row, or for each batch.
            let of_row = |numbers: &[u32]| if numbers.len() == rows { numbers[row] } else { numbers[row / heads] } as usize;
            let live = of_row(lengths).min(tokens);
            let unmarked = vec![mark::CANDIDATE; live];
            let marks = match self.marked {
                Marked::No => &unmarked,
                Marked::Shared => &marks[..live],
                Marked::PerRow => &marks[row * tokens..][..live],
            };
            let scores = &scores[row * tokens..][..live];
            let ranking = reference::rank(scores, marks, self.options.largest);
            let selected = of_row(counts).min(k).min(ranking.candidates);
            let (first, others) = ranking.order.split_at(selected);
            let ordered = |list: &[u32], order| {
                let mut list = list.to_vec();
                if order == Order::Index {
                    list.sort_unstable();
                }
                list
            };
            kept[row] = selected as u32;
            for (place, token) in ordered(first, self.options.order).into_iter().enumerate() {
                indices[row * k + place] = token;
                values[row * k + place] = scores[token as usize];
                mask[row * tokens + token as usize] = 1;
                places[row * tokens + token as usize] = place as u32;
            }
            if let Some(order) = self.options.complement {
                complement[row * capacity..][..others.len()].copy_from_slice(&ordered(others, order));
            }
        }
        let [batch, heads, tokens] = [batch as u32, heads as u32, tokens as u32];
        let mut outputs = vec![
            HostTensor::u32([batch, heads, self.options.k], indices),
            HostTensor::f32([batch, heads, self.options.k], values),
            HostTensor::u32([batch, heads], kept),
            HostTensor::u32([batch, heads, tokens], places),
        ];
        if self.options.complement.is_some() {
            outputs.push(HostTensor::u32([batch, heads, self.capacity], complement));
        }
        if self.options.mask {
            outputs.push(HostTensor::u32([batch, heads, tokens], mask));
        }
        outputs
    }

    fn batched_inputs(&self, _inputs: &[Desc]) -> Option<Vec<bool>> {
        Some(vec![true, true, true, self.marked == Marked::PerRow])
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<(), Error> {
        let [batch, heads, tokens] = lowering.input(0).shape.exactly("top_k: scores", "[B, H, N]")?;
        let rows = u64::from(batch) * u64::from(heads);
        if rows == 0 {
            return Ok(());
        }
        // A tensor of one number for each row has as many as there are rows; otherwise each serves all heads.
        let rows_per = |desc: Desc| if desc.shape.elements() == rows { 1 } else { heads };
        let plan = Plan {
            options: self.options,
            capacity: self.capacity,
            rows,
            tokens,
            header: Header::of(lowering.input(0).elem),
            rows_per_length: rows_per(lowering.input(1)),
            rows_per_count: rows_per(lowering.input(2)),
            marked: u32::from(self.marked != Marked::No),
            marks_stride: if self.marked == Marked::PerRow { tokens } else { 0 },
            places: Some(3).filter(|output| lowering.is_read(*output)).map(Slot::Output),
            complement: self.options.complement.map(|_| 4).filter(|output| lowering.is_read(*output)).map(Slot::Output),
            mask: self.options.mask.then_some(Slot::Output(4 + usize::from(self.options.complement.is_some()))),
        };
        if tokens <= BLOCK || plan.selects() { plan.short_rows(lowering) } else { plan.long_rows(lowering) }
    }

    /// Values are copies: the same bits, but for NaNs that came from f16.
    fn compare(&self, inputs: &[&HostTensor], expected: &[HostTensor], actual: &[HostTensor]) -> Vec<Comparison> {
        let compare = |(e, a): (&HostTensor, &HostTensor)| match (e.desc().elem, inputs[0].desc().elem) {
            (Elem::F32, Elem::F16) => Comparison::within(e, a, &vec![0.0; e.shape().elements() as usize]),
            _ => Comparison::exact(e, a),
        };
        expected.iter().zip(actual).map(compare).collect()
    }
}

/// What all dispatches of one call share.
struct Plan {
    options: TopK,
    capacity: u32,
    rows: u64,
    tokens: u32,
    header: Header,
    rows_per_length: u32,
    rows_per_count: u32,
    marked: u32,
    marks_stride: u32,
    places: Option<Slot>,
    complement: Option<Slot>,
    mask: Option<Slot>,
}

/// A buffer that a dispatch is bound to and does not touch.
fn unused(lowering: &mut Lowering<'_>) -> Slot {
    lowering.scratch(1, Elem::U32)
}

impl Plan {
    /// Whether one workgroup selects from a row without sorting it.
    fn selects(&self) -> bool {
        let by_rank = self.complement.is_some() && self.options.complement == Some(Order::Value);
        let few = self.options.order == Order::Index || self.options.k <= RANKED;
        few && !by_rank && (COUNTED + 1..=SELECTED).contains(&self.tokens)
    }

    fn short_rows(&self, lowering: &mut Lowering<'_>) -> Result<(), Error> {
        let TopK { k, order, largest, .. } = self.options;
        let complement = self.complement.map(|slot| match self.options.complement {
            Some(Order::Value) => (REST_BY_RANK, slot, self.capacity),
            _ => (REST_BY_INDEX, slot, self.capacity),
        });
        let each = [(REST_PLACES, self.places), (REST_MASK, self.mask)];
        let each = each.into_iter().filter_map(|(kind, slot)| Some((kind, slot?, self.tokens)));
        let mut rests: Vec<_> = complement.into_iter().chain(each).collect();
        if rests.is_empty() {
            rests.push((REST_NOTHING, unused(lowering), 0));
        }
        // Elements of workgroup memory that a row takes, and what works on them.
        let (span, shader, constants, groups) = if self.tokens <= COUNTED {
            let span = self.tokens.next_multiple_of(4).max(4); // a row without tokens still has a count
            (span, &COUNT, COUNT.tunings[0], self.rows.div_ceil(u64::from(256 / span)))
        } else if self.selects() {
            (0, &SELECT, SELECT.tunings[0], self.rows)
        } else {
            let span = self.tokens.next_power_of_two();
            (span, &ROW, ROW.tunings[usize::from(span > 256) + usize::from(span > 1024)], self.rows)
        };
        let [s0, s1, s2, s3] = [0, 1, 2, 3].map(Slot::Input);
        for (rest_kind, rest, capacity) in rests {
            lowering.dispatch(Call {
                shader,
                header: self.header,
                constants,
                slots: &[s0, s1, s2, s3, Slot::Output(0), Slot::Output(1), Slot::Output(2), rest],
                params: RowParams {
                    rows: self.rows as u32,
                    tokens: self.tokens,
                    k,
                    span,
                    rows_per_length: self.rows_per_length,
                    rows_per_count: self.rows_per_count,
                    marked: self.marked,
                    marks_stride: self.marks_stride,
                    smallest: u32::from(!largest),
                    by_index: u32::from(order == Order::Index),
                    rest_kind,
                    capacity,
                },
                groups,
            })?;
        }
        Ok(())
    }

    fn long_rows(&self, lowering: &mut Lowering<'_>) -> Result<(), Error> {
        let TopK { k, order, largest, .. } = self.options;
        let complement = self.options.complement.filter(|_| self.complement.is_some());
        let (rows, tokens) = (self.rows, self.tokens);
        // A sort of the whole row gives all that is ordered by value; a radix select all that is ordered by index, and
        // what there is to sort otherwise.
        let sorts_all = complement == Some(Order::Value) || (order == Order::Value && k == tokens);
        let selects = order == Order::Index || complement == Some(Order::Index) || !sorts_all;
        // Enough workgroups to fill the device, each of as many tokens as that allows: every one looks at the counts of all chunks of
        // its row. The counts take 16 bits. A CPU fills and empties 2048 counters slowly. Tests that force the portable form, or
        // that of GPUs, run what GPUs run.
        let on_cpu = lowering.capabilities().software && lowering.form(&KEY, self.header) == Form::Subgroup && !lowering.runs_as_gpus(&KEY);
        let (device, least) = if on_cpu { (8, 8192) } else { (128, 2048) };
        let chunk = u64::from(tokens).div_ceil((device / rows).max(1)).clamp(least, 32768).next_multiple_of(2048) as u32;
        let tuning = usize::from(on_cpu);
        let chunks = tokens.div_ceil(chunk);
        let groups = rows * u64::from(chunks);
        let keys = lowering.scratch(rows * u64::from(tokens), Elem::U32);
        // Eight words, then for each chunk how many tokens it lists, and three times 1024 words of counts.
        let stride = if selects { 8 + 3073 * chunks } else { 8 };
        let memory = lowering.scratch(rows * u64::from(stride), Elem::U32);
        lowering.dispatch(Call {
            shader: &KEY,
            header: self.header,
            constants: KEY.tunings[tuning],
            slots: &[Slot::Input(0), Slot::Input(1), Slot::Input(2), Slot::Input(3), keys, memory],
            params: KeyParams {
                groups: groups as u32,
                tokens,
                k,
                chunk,
                chunks,
                stride,
                rows_per_length: self.rows_per_length,
                rows_per_count: self.rows_per_count,
                marked: self.marked,
                marks_stride: self.marks_stride,
                smallest: u32::from(!largest),
                with_digits: u32::from(selects),
            },
            groups,
        })?;

        let by_index = if order == Order::Index { Slot::Output(0) } else { lowering.scratch(rows * u64::from(k), Elem::U32) };
        if selects {
            let list = lowering.scratch(rows * u64::from(tokens), Elem::U32);
            // One workgroup waits for itself, and needs no second dispatch.
            let turns: &[[u32; 2]] = if chunks == 1 { &[[0, 2]] } else { &[[0, 1], [1, 2]] };
            for &[level, end_level] in turns {
                lowering.dispatch(Call {
                    shader: &DIGIT,
                    header: Header::U32,
                    constants: DIGIT.tunings[tuning],
                    slots: &[keys, memory, list, Slot::Output(2)],
                    params: DigitParams { groups: groups as u32, tokens, chunk, chunks, stride, level, end_level },
                    groups,
                })?;
            }
            let by_value = unused(lowering);
            let values = if order == Order::Index { Slot::Output(1) } else { by_value };
            let others = self.complement.filter(|_| complement == Some(Order::Index));
            let complement_slot = others.unwrap_or_else(|| unused(lowering));
            // Places by value are written after the sort; here all others are.
            for (each_kind, each) in self.each(lowering, true, !sorts_all || order == Order::Index) {
                lowering.dispatch(Call {
                    shader: &EMIT,
                    header: self.header,
                    constants: EMIT.tunings[0],
                    slots: &[keys, Slot::Input(0), memory, list, by_index, values, complement_slot, each],
                    params: EmitParams {
                        groups: groups as u32,
                        tokens,
                        k,
                        capacity: self.capacity,
                        chunk,
                        chunks,
                        stride,
                        with_values: u32::from(order == Order::Index),
                        with_complement: u32::from(others.is_some()),
                        each_kind,
                        only_selected: u32::from(others.is_none() && each_kind == EACH_NOTHING),
                    },
                    groups,
                })?;
            }
        }
        if !sorts_all && order == Order::Index {
            return Ok(());
        }
        if !sorts_all && k <= BLOCK {
            let places = self.places;
            let each = places.unwrap_or_else(|| unused(lowering));
            return lowering.dispatch(Call {
                shader: &ORDER,
                header: self.header,
                constants: ORDER.tunings[0],
                slots: &[keys, by_index, Slot::Input(0), Slot::Output(0), Slot::Output(1), each],
                params: OrderParams {
                    rows: rows as u32,
                    tokens,
                    k,
                    span: k.next_power_of_two().max(8),
                    with_places: u32::from(places.is_some()),
                },
                groups: rows,
            });
        }

        let entries = if sorts_all { tokens } else { k };
        let pairs = self.sort(lowering, keys, by_index, entries, !sorts_all)?;
        let extent = if sorts_all { tokens } else { k };
        let indices = if order == Order::Value { Slot::Output(0) } else { unused(lowering) };
        let values = if order == Order::Value { Slot::Output(1) } else { unused(lowering) };
        let others = self.complement.filter(|_| complement == Some(Order::Value));
        let complement_slot = others.unwrap_or_else(|| unused(lowering));
        let chunks = extent.div_ceil(2048);
        let groups = rows * u64::from(chunks);
        for (each_kind, each) in self.each(lowering, !selects, order == Order::Value) {
            lowering.dispatch(Call {
                shader: &FINISH,
                header: self.header,
                constants: &[],
                slots: &[pairs, Slot::Input(0), memory, indices, values, Slot::Output(2), complement_slot, each],
                params: FinishParams {
                    groups: groups as u32,
                    tokens,
                    entries,
                    k,
                    capacity: self.capacity,
                    chunks,
                    stride,
                    with_indices: u32::from(order == Order::Value),
                    with_complement: u32::from(others.is_some()),
                    each_kind,
                },
                groups,
            })?;
        }
        Ok(())
    }

    /// What a pass over a long row says of each token, a dispatch for each; one for nothing, where it is to say nothing.
    fn each(&self, lowering: &mut Lowering<'_>, mask: bool, places: bool) -> Vec<(u32, Slot)> {
        let places = self.places.filter(|_| places).map(|slot| (EACH_PLACES, slot));
        let mask = self.mask.filter(|_| mask).map(|slot| (EACH_MASK, slot));
        let both: Vec<_> = places.into_iter().chain(mask).collect();
        if both.is_empty() { vec![(EACH_NOTHING, unused(lowering))] } else { both }
    }

    /// Pairs of key and index of each row's `entries`, sorted: all tokens, or those listed in ascending index.
    fn sort(&self, lowering: &mut Lowering<'_>, keys: Slot, list: Slot, entries: u32, listed: bool) -> Result<Slot, Error> {
        let pairs = self.rows * 2 * u64::from(entries);
        let runs = entries.div_ceil(BLOCK);
        let groups = self.rows * u64::from(runs);
        let list = if listed { list } else { unused(lowering) };
        let mut sorted = lowering.scratch(pairs, Elem::U32);
        lowering.dispatch(Call {
            shader: &SORT,
            header: Header::U32,
            constants: SORT.tunings[0],
            slots: &[keys, list, sorted],
            params: SortParams {
                groups: groups as u32,
                tokens: self.tokens,
                entries,
                runs,
                span: entries.next_power_of_two().clamp(8, BLOCK),
                listed: u32::from(listed),
            },
            groups,
        })?;
        if runs < 2 {
            return Ok(sorted);
        }
        let mut other = lowering.scratch(pairs, Elem::U32);
        let chunks = entries.div_ceil(256);
        let groups = self.rows * u64::from(chunks);
        let mut run = BLOCK;
        while run < entries {
            lowering.dispatch(Call {
                shader: &MERGE,
                header: Header::U32,
                constants: &[],
                slots: &[sorted, other],
                params: MergeParams { groups: groups as u32, entries, chunks, run },
                groups,
            })?;
            std::mem::swap(&mut sorted, &mut other);
            run *= 2;
        }
        Ok(sorted)
    }
}
