//! Two attentions of the same rows as one.

use crate::checks::expect;
use crate::compare::Comparison;
use crate::device::{BindingElem, Call, Header, Include, Lowering, Shader, Slot, params};
use crate::error::Error;
use crate::graph::{Graph, Kernel, Tensor};
use crate::kernels::{Attended, Heads};
use crate::reference;
use crate::tensor::{Desc, Elem, HostTensor};

params! {
    struct Params { elements: u32, channels: u32, lses: u32, heads: u32, queries: u32, heads_last: u32 }
}

pub(super) static MERGE_ATTENTION: Shader = Shader {
    name: "merge_attention",
    source: include_str!("../../../shaders/layers/merge_attention.wgsl"),
    includes: &[Include::Softmax],
    headers: &[Header::F32, Header::F16, Header::F32x4, Header::F16x4],
    inputs: &[
        ("first", BindingElem::Elem),
        ("first_lse", BindingElem::F32),
        ("second", BindingElem::Elem),
        ("second_lse", BindingElem::F32),
    ],
    outputs: &[("rows", BindingElem::Elem), ("lse", BindingElem::F32)],
    params: Params::NAMES,
    tunings: &[&[]],
};

/// Where the heads are.
#[derive(Debug, Clone, Copy)]
struct MergeAttention {
    heads: Heads,
}

/// Two attentions of the same queries, over keys that have none in common, as one over all of them.
///
/// ```text
/// w    = exp(lse - max(lse_1, lse_2)) of each
/// rows = (w_1 rows_1 + w_2 rows_2) / (w_1 + w_2),     lse = max(lse_1, lse_2) + ln(w_1 + w_2)
/// ```
///
/// So a long cache can be attended to in pieces, and a prompt that many share once for all. Both parts have their log-sum-exp, and
/// `heads` is the layout that they were made in.
///
/// - A row that saw nothing in one part has an lse of negative infinity there. It is the other part's row to the bit, whatever the part
///   holds. A row that saw nothing in either is 0 and its lse negative infinity.
/// - A NaN lse makes the row NaN.
/// - What a part saw has a weight above 0, however small: its infinities and NaN are in the result.
///
/// Cost: one dispatch; one read of both parts, one write of the result.
///
/// # Errors
/// [`Error::Value`] where a part has no log-sum-exp; [`Error::Shape`] and [`Error::Elem`] where the parts are not alike.
///
/// ```
/// use tokenpress::kernels::{Attended, Heads, merge_attention};
/// use tokenpress::{Elem, Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// // Of one key of logit 0, and of three.
/// let mut part = |value: f32, keys: f32| Attended {
///     rows: graph.constant(HostTensor::f32([1, 1, 1, 1], vec![value])),
///     lse: Some(graph.constant(HostTensor::f32([1, 1, 1], vec![keys.ln()]))),
/// };
/// let (first, second) = (part(4.0, 1.0), part(8.0, 3.0));
/// let merged = merge_attention(&mut graph, first, second, Heads::First)?;
/// graph.output("rows", merged.rows)?;
/// let rows = graph.run_reference(&Default::default())?["rows"].floats();
/// assert!((rows[0] - 7.0).abs() < 1e-6);
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[doc(alias("flash_decoding", "log_sum_exp", "lse"))]
pub fn merge_attention(graph: &mut Graph, first: Attended, second: Attended, heads: Heads) -> Result<Attended, Error> {
    let lse_of = |part: Attended| {
        let (expected, actual) = ("parts with a log-sum-exp".to_owned(), "none".to_owned());
        part.lse.ok_or(Error::Value { argument: "merge_attention: lse", expected, actual })
    };
    let inputs: [Tensor; 4] = [first.rows, lse_of(first)?, second.rows, lse_of(second)?];
    let outputs = graph.call(MergeAttention { heads }, &inputs)?;
    Ok(Attended { rows: outputs[0], lse: Some(outputs[1]) })
}

impl MergeAttention {
    /// Batch, heads, query rows and channels.
    fn dimensions(self, rows: Desc) -> Result<[u32; 4], Error> {
        match self.heads {
            Heads::First => rows.shape.exactly("merge_attention: rows", "[B, H, M, V]"),
            Heads::Last => rows.shape.exactly("merge_attention: rows", "[B, M, H, V]").map(|[b, m, h, v]| [b, h, m, v]),
        }
    }

    /// The log-sum-exp of each row where the rows lie.
    fn beside<T: Copy>(self, of_rows: &[T], [batch, heads, queries, _]: [u32; 4]) -> Vec<T> {
        let [batch, heads, queries] = [batch, heads, queries].map(|d| d as usize);
        let place = |b: usize, m: usize, h: usize| of_rows[(b * heads + h) * queries + m];
        match self.heads {
            Heads::First => of_rows.to_vec(),
            Heads::Last => (0..batch).flat_map(|b| (0..queries).flat_map(move |m| (0..heads).map(move |h| place(b, m, h)))).collect(),
        }
    }

    /// Back again.
    fn before<T: Copy>(self, of_rows: &[T], [batch, heads, queries, channels]: [u32; 4]) -> Vec<T> {
        self.beside(of_rows, [batch, queries, heads, channels])
    }
}

impl Kernel for MergeAttention {
    fn name(&self) -> &'static str {
        "merge_attention"
    }

    fn output_names(&self) -> &'static [&'static str] {
        &["rows", "lse"]
    }

    fn outputs(&self, inputs: &[Desc]) -> Result<Vec<Desc>, Error> {
        let [batch, heads, queries, _] = self.dimensions(inputs[0])?;
        if !inputs[0].elem.is_float() {
            return Err(Error::Elem { argument: "merge_attention: rows", expected: "f32, f16 or bf16", actual: inputs[0].elem });
        }
        let lse = Desc::new([batch, heads, queries], Elem::F32);
        expect("merge_attention: lse", inputs[1], lse)?;
        expect("merge_attention: rows", inputs[2], inputs[0])?;
        expect("merge_attention: lse", inputs[3], lse)?;
        Ok(vec![inputs[0], lse])
    }

    fn reference(&self, inputs: &[&HostTensor]) -> Vec<HostTensor> {
        let operands = Operands::of(*self, inputs);
        let (rows, lse) = reference::merge_attention(operands.parts(), operands.dimensions[3] as usize);
        let lse = self.before(&lse, operands.dimensions);
        vec![HostTensor::from_floats(inputs[0].desc(), rows), HostTensor::f32(inputs[1].shape(), lse)]
    }

    fn compare(&self, inputs: &[&HostTensor], expected: &[HostTensor], actual: &[HostTensor]) -> Vec<Comparison> {
        let operands = Operands::of(*self, inputs);
        let (rows, lse) = reference::merge_attention_bound(operands.parts(), operands.dimensions[3] as usize, inputs[0].desc().elem);
        let lse = self.before(&lse, operands.dimensions);
        vec![Comparison::within(&expected[0], &actual[0], &rows), Comparison::within(&expected[1], &actual[1], &lse)]
    }

    fn batched_inputs(&self, _inputs: &[Desc]) -> Option<Vec<bool>> {
        Some(vec![true; 4])
    }

    fn flops(&self, inputs: &[Desc]) -> u64 {
        inputs[0].shape.elements().saturating_mul(3)
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<(), Error> {
        let [_, heads, queries, channels] = self.dimensions(lowering.input(0))?;
        let slots = [Slot::Input(0), Slot::Input(1), Slot::Input(2), Slot::Input(3), Slot::Output(0), Slot::Output(1)];
        // Each channel is by itself: four at a time are the same numbers.
        let header = Header::vector(lowering.input(0).elem, channels.into(), lowering.alignment(&[slots[0], slots[2], slots[4]]));
        let elements = lowering.input(0).shape.elements() / u64::from(header.width());
        let lses = lowering.input(1).shape.elements();
        lowering.dispatch(Call {
            shader: &MERGE_ATTENTION,
            header,
            constants: &[],
            slots: &slots,
            params: Params {
                elements: elements as u32,
                channels: channels / header.width(),
                lses: lses as u32,
                heads,
                queries,
                heads_last: (self.heads == Heads::Last).into(),
            },
            groups: elements.max(lses).div_ceil(128),
        })
    }
}

/// Inputs on the host, the log-sum-exps in the order of the rows.
struct Operands {
    dimensions: [u32; 4],
    rows: [Vec<f32>; 2],
    lses: [Vec<f32>; 2],
}

impl Operands {
    /// Of inputs whose shapes were checked when the call was made.
    fn of(kernel: MergeAttention, inputs: &[&HostTensor]) -> Self {
        let dimensions = kernel.dimensions(inputs[0].desc()).unwrap_or_else(|error| panic!("{error}"));
        let lses = [1, 3].map(|i| kernel.beside(&inputs[i].floats(), dimensions));
        Self { dimensions, rows: [0, 2].map(|i| inputs[i].floats()), lses }
    }

    fn parts(&self) -> [(&[f32], &[f32]); 2] {
        [0, 1].map(|p| (self.rows[p].as_slice(), self.lses[p].as_slice()))
    }
}
