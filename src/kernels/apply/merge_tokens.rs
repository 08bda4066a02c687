//! Outputs reduced over their members.

use crate::checks::expect;
use crate::compare::Comparison;
use crate::device::{BindingElem, Call, Header, Include, Lowering, Shader, Slot, params};
use crate::error::Error;
use crate::graph::{Graph, Kernel, Tensor};
use crate::kernels::Groups;
pub use crate::reference::Reduce;
use crate::reference::{self, Merge};
use crate::tensor::{Desc, Elem, HostTensor, Shape};

params! {
    struct Params {
        /// Of the output, in elems.
        elements: u32,
        tokens: u32,
        outputs: u32,
        /// In elems.
        channels: u32,
        /// M.
        entries: u32,
        with_totals: u32,
    }
}

pub(super) static MERGE_TOKENS: Shader = Shader {
    name: "merge_tokens",
    source: include_str!("../../../shaders/apply/merge_tokens.wgsl"),
    includes: &[Include::Order, Include::ElemOrder],
    headers: &[Header::F32, Header::F16, Header::F32x4, Header::F16x4],
    inputs: &[("x", BindingElem::Elem), ("offsets", BindingElem::U32), ("members", BindingElem::U32), ("weights", BindingElem::F32)],
    outputs: &[("merged", BindingElem::Elem), ("totals", BindingElem::F32)],
    params: Params::NAMES,
    tunings: &[&[("REDUCE", 0)], &[("REDUCE", 1)], &[("REDUCE", 2)], &[("REDUCE", 3)], &[("REDUCE", 4)]],
};

/// Reduces the members of every output.
#[derive(Debug, Clone, Copy)]
struct MergeTokens {
    reduce: Reduce,
    /// Whether the weights are added up too.
    totals: bool,
}

/// Every output reduced over its members: `merged[b, p]` is [`Reduce`] over the rows `x[b, i]` of output p's members i, and over
/// `weights[b, i]`.
///
/// `x` is f32, f16 or bf16, `[B, N, C]` or `[B, N]`. `groups` has offsets `[B, N' + 1]` and members `[B, M]`, as
/// [`group_tokens`](crate::kernels::group_tokens()) makes them. `weights` f32 `[B, N]` go with the weighted reductions, and with
/// no other. Gives `[B, N', C]` or `[B, N']` in x's element type.
///
/// - Sums are in f32, in the members' order. Only a result beyond the element type's range is infinite (or f16's largest number):
///   the mean of finite rows is finite.
/// - An output without members is 0.
/// - An output of a single member is its row bit for bit, but for [`Reduce::WeightedSum`].
/// - A weighted mean of several members whose weights sum to 0 is 0.
/// - [`Reduce::Max`] skips NaN, and is NaN only where all members are. In PyTorch's `scatter_reduce` NaN wins; the difference is
///   on purpose.
/// - Members that are not tokens are passed over ([`NONE`](crate::NONE) among them).
///
/// Cost: one dispatch; every member's row is read once, every output written once.
///
/// ```
/// use tokenpress::kernels::{Reduce, group_tokens, merge_tokens};
/// use tokenpress::{Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// let x = graph.constant(HostTensor::f32([1, 3], vec![2.0, 9.0, 4.0]));
/// let parent = graph.constant(HostTensor::u32([1, 3], vec![0, 1, 0]));
/// let groups = group_tokens(&mut graph, parent, 2)?;
/// let merged = merge_tokens(&mut graph, x, groups, None, Reduce::Mean)?;
/// graph.output("merged", merged)?;
/// assert_eq!(graph.run_reference(&[].into())?["merged"].floats(), [3.0, 9.0]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[doc(alias("scatter_reduce", "scatter_add", "segment_reduce", "segment_mean", "index_add"))]
pub fn merge_tokens(graph: &mut Graph, x: Tensor, groups: Groups, weights: Option<Tensor>, reduce: Reduce) -> Result<Tensor, Error> {
    if weights.is_some() != reduce.is_weighted() {
        let expected = if reduce.is_weighted() { "weights" } else { "no weights" };
        let actual = if reduce.is_weighted() { "none" } else { "weights" };
        let expected = format!("{expected} for {reduce:?}");
        return Err(Error::Value { argument: "merge_tokens: weights", expected, actual: actual.to_owned() });
    }
    let weights = weights.unwrap_or_else(|| graph.constant(HostTensor::f32([1], vec![1.0])));
    Ok(graph.call(MergeTokens { reduce, totals: false }, &[x, groups.offsets, groups.members, weights])?[0])
}

/// [`merge_tokens`], and the sum of the weights of each output's members, f32 `[B, N']`. If the weights are the tokens' sizes,
/// these are the sizes of the merged tokens.
///
/// The weights may go with any reduction; those that are not weighted leave them out of `merged`. Cost: one dispatch, as without
/// totals.
///
/// ```
/// use tokenpress::kernels::{Reduce, group_tokens, merge_with_totals};
/// use tokenpress::{Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// let x = graph.constant(HostTensor::f32([1, 2], vec![2.0, 6.0]));
/// let sizes = graph.constant(HostTensor::f32([1, 2], vec![3.0, 1.0]));
/// let parent = graph.constant(HostTensor::u32([1, 2], vec![0, 0]));
/// let groups = group_tokens(&mut graph, parent, 1)?;
/// let [merged, total] = merge_with_totals(&mut graph, x, groups, sizes, Reduce::WeightedMean)?;
/// graph.output("merged", merged)?;
/// graph.output("total", total)?;
/// let out = graph.run_reference(&[].into())?;
/// // (3 * 2 + 1 * 6) / 4
/// assert_eq!((out["merged"].floats(), out["total"].floats()), (vec![3.0], vec![4.0]));
/// # Ok::<(), tokenpress::Error>(())
/// ```
pub fn merge_with_totals(graph: &mut Graph, x: Tensor, groups: Groups, weights: Tensor, reduce: Reduce) -> Result<[Tensor; 2], Error> {
    let outputs = graph.call(MergeTokens { reduce, totals: true }, &[x, groups.offsets, groups.members, weights])?;
    Ok([outputs[0], outputs[1]])
}

/// Batch, tokens and channels.
fn dimensions(shape: Shape) -> Result<[u32; 3], Error> {
    match *shape.dims() {
        [batch, tokens] => Ok([batch, tokens, 1]),
        [batch, tokens, channels] => Ok([batch, tokens, channels]),
        _ => Err(Error::Shape { argument: "merge_tokens: x", expected: "[B, N, C] or [B, N]".to_owned(), actual: shape }),
    }
}

/// Outputs of each batch row.
fn outputs(offsets: Desc, batch: u32) -> Result<u32, Error> {
    let argument = "merge_tokens: offsets";
    match *offsets.shape.dims() {
        _ if offsets.elem != Elem::U32 => Err(Error::Elem { argument, expected: "u32", actual: offsets.elem }),
        [rows, ends] if rows == batch && ends > 0 => Ok(ends - 1),
        _ => Err(Error::Shape { argument, expected: format!("[{batch}, outputs + 1]"), actual: offsets.shape }),
    }
}

/// The shape of x with another number of rows.
fn merged_shape(x: Shape, outputs: u32) -> Shape {
    match *x.dims() {
        [batch, _, channels] => [batch, outputs, channels].into(),
        ref dims => [dims[0], outputs].into(),
    }
}

impl MergeTokens {
    fn reads_weights(&self) -> bool {
        self.totals || self.reduce.is_weighted()
    }

    /// The merge of every batch row: of x, and of the weights.
    fn rows<'a>(&self, inputs: &[&'a HostTensor], x: &'a [f32], weights: &'a [f32]) -> (Vec<Merge<'a>>, Vec<Merge<'a>>) {
        let dims = inputs[0].shape();
        let [batch, tokens, channels] = dimensions(dims).unwrap_or_default().map(|d| d as usize);
        let [_, ends] = inputs[1].dims();
        let [_, entries] = inputs[2].dims();
        let row = |b: usize| Merge {
            x: &x[b * tokens * channels..][..tokens * channels],
            channels,
            offsets: &inputs[1].integers()[b * ends..][..ends],
            members: &inputs[2].integers()[b * entries..][..entries],
            weights: self.reduce.is_weighted().then(|| &weights[b * tokens..][..tokens]),
        };
        let weights_alone = |b: usize| Merge { x: &weights[b * tokens..][..tokens], channels: 1, weights: None, ..row(b) };
        ((0..batch).map(row).collect(), (0..batch).filter(|_| self.totals).map(weights_alone).collect())
    }
}

impl Kernel for MergeTokens {
    fn name(&self) -> &'static str {
        "merge_tokens"
    }

    fn output_names(&self) -> &'static [&'static str] {
        if self.totals { &["merged", "totals"] } else { &["merged"] }
    }

    fn outputs(&self, inputs: &[Desc]) -> Result<Vec<Desc>, Error> {
        let [batch, tokens, _] = dimensions(inputs[0].shape)?;
        if !inputs[0].elem.is_float() {
            return Err(Error::Elem { argument: "merge_tokens: x", expected: "f32, f16 or bf16", actual: inputs[0].elem });
        }
        let outputs = outputs(inputs[1], batch)?;
        let [_, entries] = inputs[2].shape.exactly("merge_tokens: members", "[B, M]")?;
        expect("merge_tokens: members", inputs[2], Desc::new([batch, entries], Elem::U32))?;
        if self.reads_weights() {
            expect("merge_tokens: weights", inputs[3], Desc::new([batch, tokens], Elem::F32))?;
        }
        let merged = Desc { shape: merged_shape(inputs[0].shape, outputs), elem: inputs[0].elem };
        let totals = self.totals.then(|| Desc::new([batch, outputs], Elem::F32));
        Ok([merged].into_iter().chain(totals).collect())
    }

    fn reference(&self, inputs: &[&HostTensor]) -> Vec<HostTensor> {
        let [_, ends] = inputs[1].dims();
        let desc = Desc { shape: merged_shape(inputs[0].shape(), ends as u32 - 1), elem: inputs[0].desc().elem };
        let (x, weights) = (inputs[0].floats(), inputs[3].floats());
        let (rows, weight_rows) = self.rows(inputs, &x, &weights);
        let merge = |rows: &[Merge<'_>], reduce| -> Vec<f32> {
            rows.iter().flat_map(|row| reference::merge_tokens(row, reduce)).map(|v| v as f32).collect()
        };
        let mut outputs = vec![HostTensor::from_floats(desc, merge(&rows, self.reduce))];
        if self.totals {
            outputs.push(HostTensor::f32([desc.shape.dims()[0], desc.shape.dims()[1]], merge(&weight_rows, Reduce::Sum)));
        }
        outputs
    }

    fn batched_inputs(&self, _inputs: &[Desc]) -> Option<Vec<bool>> {
        Some(vec![true, true, true, self.reads_weights()])
    }

    fn flops(&self, inputs: &[Desc]) -> u64 {
        // At most one multiplication and one addition for each channel of each member.
        let [_, _, channels] = dimensions(inputs[0].shape).unwrap_or_default();
        inputs[2].shape.elements() * u64::from(channels) * if self.reduce.is_weighted() { 2 } else { 1 }
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<(), Error> {
        let reduce = match self.reduce {
            Reduce::Mean => 0,
            Reduce::Sum => 1,
            Reduce::Max => 2,
            Reduce::WeightedMean => 3,
            Reduce::WeightedSum => 4,
        };
        let [batch, tokens, channels] = dimensions(lowering.input(0).shape)?;
        let outputs = outputs(lowering.input(1), batch)?;
        let [_, entries] = lowering.input(2).shape.exactly("merge_tokens: members", "[B, M]")?;
        let alignment = lowering.alignment(&[Slot::Input(0), Slot::Output(0)]);
        let header = Header::vector(lowering.input(0).elem, u64::from(channels), alignment);
        let columns = channels / header.width();
        // An invocation has two columns; a row without columns may still have a total.
        let halves = if self.totals { columns.div_ceil(2).max(1) } else { columns.div_ceil(2) };
        let elements = u64::from(batch) * u64::from(outputs) * u64::from(halves);
        let totals = if self.totals { Slot::Output(1) } else { lowering.scratch(1, Elem::F32) };
        lowering.dispatch(Call {
            shader: &MERGE_TOKENS,
            header,
            constants: MERGE_TOKENS.tunings[reduce],
            slots: &[Slot::Input(0), Slot::Input(1), Slot::Input(2), Slot::Input(3), Slot::Output(0), totals],
            params: Params { elements: elements as u32, tokens, outputs, channels: columns, entries, with_totals: self.totals.into() },
            groups: elements.div_ceil(128),
        })
    }

    fn compare(&self, inputs: &[&HostTensor], expected: &[HostTensor], actual: &[HostTensor]) -> Vec<Comparison> {
        let (x, weights) = (inputs[0].floats(), inputs[3].floats());
        let elem = inputs[0].desc().elem;
        let (rows, weight_rows) = self.rows(inputs, &x, &weights);
        let of_each = [(rows, self.reduce, elem), (weight_rows, Reduce::Sum, Elem::F32)];
        let judge = |((e, a), (rows, reduce, elem)): ((&HostTensor, &HostTensor), &(Vec<Merge<'_>>, Reduce, Elem))| {
            let exact: Vec<f64> = rows.iter().flat_map(|row| reference::merge_tokens(row, *reduce)).collect();
            let bounds: Vec<f64> = rows.iter().flat_map(|row| reference::merge_tokens_bound(row, *reduce, *elem)).collect();
            Comparison::ranged(e, a, &exact, &bounds)
        };
        expected.iter().zip(actual).zip(&of_each).map(judge).collect()
    }
}
