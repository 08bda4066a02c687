//! Members of every output.

use crate::device::{BindingElem, Call, Header, Include, Lowering, Shader, Slot, params};
use crate::error::Error;
use crate::graph::{Graph, Kernel, Tensor};
use crate::reference;
use crate::tensor::{Desc, Elem, HostTensor};

params! {
    struct Params { batch: u32, tokens: u32, outputs: u32 }
}

pub(super) static GROUP_TOKENS: Shader = Shader {
    name: "group_tokens",
    source: include_str!("../../../shaders/apply/group_tokens.wgsl"),
    includes: &[Include::Reduce],
    headers: &[Header::U32],
    inputs: &[("parent", BindingElem::U32)],
    outputs: &[("offsets", BindingElem::AtomicU32), ("members", BindingElem::U32)],
    params: Params::NAMES,
    tunings: &[&[]],
};

pub(super) static SHORT_ROWS: Shader = Shader {
    name: "group_tokens.short",
    source: include_str!("../../../shaders/apply/group_tokens.short.wgsl"),
    includes: &[],
    outputs: &[("offsets", BindingElem::U32), ("members", BindingElem::U32)],
    ..GROUP_TOKENS
};

/// Longest row whose tokens count those before them. A workgroup a row is mostly idle there, and what it costs to start one adds up over
/// many rows.
const SHORT: u32 = 64;

/// Groups tokens by their output.
#[derive(Debug, Clone, Copy)]
struct GroupTokens {
    outputs: u32,
}

/// The tokens of every output, in compressed rows: output p of batch row b has
/// `members[b, offsets[b, p]..offsets[b, p + 1]]`.
#[derive(Debug, Clone, Copy)]
pub struct Groups {
    /// Where each output's members begin, and after them the end of the last; u32 `[B, N' + 1]`.
    pub offsets: Tensor,
    /// Tokens, u32 `[B, M]`; [`NONE`](crate::NONE) after the last output's.
    pub members: Tensor,
}

/// For every output the tokens that went there, ascending.
///
/// `parent` is u32 `[B, N]`: the output of each token. A token at or above `outputs` went to none ([`NONE`](crate::NONE) among
/// them). Gives offsets `[B, outputs + 1]` and members `[B, N]`. It is a counting sort, the same on every device.
///
/// Cost: one dispatch of one workgroup a batch row, linear in N whatever the parents are. Rows of up to 64 tokens share
/// workgroups.
///
/// ```
/// use tokenpress::kernels::group_tokens;
/// use tokenpress::{Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// let parent = graph.constant(HostTensor::u32([1, 3], vec![1, 0, 1]));
/// let groups = group_tokens(&mut graph, parent, 2)?;
/// graph.output("offsets", groups.offsets)?;
/// graph.output("members", groups.members)?;
/// let out = graph.run_reference(&[].into())?;
/// assert_eq!(out["offsets"].integers(), [0, 1, 3]);
/// assert_eq!(out["members"].integers(), [1, 0, 2]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[doc(alias("counting_sort", "bucket", "csr", "group_by"))]
pub fn group_tokens(graph: &mut Graph, parent: Tensor, outputs: u32) -> Result<Groups, Error> {
    let grouped = graph.call(GroupTokens { outputs }, &[parent])?;
    Ok(Groups { offsets: grouped[0], members: grouped[1] })
}

impl Kernel for GroupTokens {
    fn name(&self) -> &'static str {
        "group_tokens"
    }

    fn output_names(&self) -> &'static [&'static str] {
        &["offsets", "members"]
    }

    fn outputs(&self, inputs: &[Desc]) -> Result<Vec<Desc>, Error> {
        let [batch, tokens] = inputs[0].shape.exactly("group_tokens: parent", "[B, N]")?;
        if inputs[0].elem != Elem::U32 {
            return Err(Error::Elem { argument: "group_tokens: parent", expected: "u32", actual: inputs[0].elem });
        }
        let Some(ends) = self.outputs.checked_add(1) else {
            let actual = self.outputs.to_string();
            return Err(Error::Value { argument: "group_tokens: outputs", expected: "below 2^32 - 1".to_owned(), actual });
        };
        Ok(vec![Desc::new([batch, ends], Elem::U32), Desc::new([batch, tokens], Elem::U32)])
    }

    fn reference(&self, inputs: &[&HostTensor]) -> Vec<HostTensor> {
        let [batch, tokens] = inputs[0].dims();
        let row = |b: usize| reference::group_tokens(&inputs[0].integers()[b * tokens..][..tokens], self.outputs as usize);
        let (offsets, members): (Vec<_>, Vec<_>) = (0..batch).map(row).unzip();
        vec![
            HostTensor::u32([batch as u32, self.outputs + 1], offsets.concat()),
            HostTensor::u32([batch as u32, tokens as u32], members.concat()),
        ]
    }

    fn batched_inputs(&self, _inputs: &[Desc]) -> Option<Vec<bool>> {
        Some(vec![true])
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<(), Error> {
        let [batch, tokens] = lowering.input(0).shape.exactly("group_tokens: parent", "[B, N]")?;
        let params = Params { batch, tokens, outputs: self.outputs };
        let (shader, groups) = if tokens <= SHORT {
            // An invocation for each token and each offset.
            let width = u64::from(tokens).max(u64::from(self.outputs) + 1);
            (&SHORT_ROWS, (u64::from(batch) * width).div_ceil(128))
        } else {
            (&GROUP_TOKENS, u64::from(batch))
        };
        lowering.dispatch(Call {
            shader,
            header: Header::U32,
            constants: &[],
            slots: &[Slot::Input(0), Slot::Output(0), Slot::Output(1)],
            params,
            groups,
        })
    }
}
