//! Lists and masks of the tokens of a batch.

use crate::error::Error;
use crate::graph::{Graph, Tensor};
use crate::kernels::{Limit, Threshold, ThresholdInputs, compact, gather_rows, mark};
use crate::tensor::HostTensor;
use crate::token_map::Tokens;

/// 1 for every live token, `[batch, tokens]` u32.
pub(super) fn live_mask(graph: &mut Graph, tokens: &Tokens) -> Result<Tensor, Error> {
    let (batch, capacity) = (tokens.batch(), tokens.capacity());
    let any = graph.constant(HostTensor::f32([batch, capacity], vec![0.0; batch as usize * capacity as usize]));
    let every = graph.constant(HostTensor::u32([capacity], vec![mark::PROTECTED; capacity as usize]));
    let inputs = ThresholdInputs { lengths: Some(tokens.lengths), marks: Some(every), ..ThresholdInputs::new(any, Limit::Constant(0.0)) };
    Threshold::default().mask(graph, inputs)
}

/// The live tokens of a list `[entries]` or `[batch, entries]`, in its order, [`NONE`](crate::NONE) behind them, and how many.
pub(super) fn live_entries(graph: &mut Graph, list: Tensor, live: Tensor) -> Result<(Tensor, Tensor), Error> {
    let (batch, entries) = (live.shape().dims()[0], list.shape().dims().last().copied().unwrap_or(0));
    // An entry that is no token's is not alive either.
    let dead = graph.constant(HostTensor::u32([batch, entries], vec![0; batch as usize * entries as usize]));
    let flags = gather_rows(graph, live, list, Some(dead))?;
    let kept = compact(graph, flags, None)?;
    let listed = match *list.shape().dims() {
        [_, _] => gather_rows(graph, list, kept.indices, None)?,
        _ => {
            let list = graph.reshape(list, [1, entries])?;
            let index = graph.reshape(kept.indices, [1, batch * entries])?;
            gather_rows(graph, list, index, None)?
        }
    };
    Ok((graph.reshape(listed, [batch, entries])?, kept.counts))
}
