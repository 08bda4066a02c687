//! What several kernels do with their operands.

use crate::device::Shader;
use crate::error::Error;
use crate::graph::{Graph, Tensor};
use crate::tensor::{Desc, Elem, HostTensor};

/// The caller's lengths, or `tokens` for every batch row.
pub(crate) fn lengths_or_full(graph: &mut Graph, lengths: Option<Tensor>, batch: u32, tokens: u32) -> Tensor {
    lengths.unwrap_or_else(|| graph.filled([batch], tokens))
}

/// Whether one invocation does the work of a batch row, or of one of its tokens, in place of a workgroup.
///
/// In a short row a workgroup is mostly idle, and its start and its barriers add up over many rows. `pairs` are the pairs of rows of
/// `channels` that an invocation compares. The answer depends only on a row's capacity, never on the number of rows: a row gets the same in
/// any batch.
pub(crate) fn alone(tokens: u32, pairs: u64, channels: u32) -> bool {
    // If there is only one row, an invocation takes longer than a workgroup. It may take 2048 loads of four channels, some tens of
    // microseconds. A pair costs about as much as 16 channels, beside its own channels.
    tokens <= 64 && pairs.saturating_mul(u64::from(channels) + 16) <= 8192
}

/// How many steps of a long loop one dispatch makes, if each step takes so many turns of loops, inner loops included.
///
/// llvmpipe of Mesa 22 ends all loops of an invocation after 65,535 turns in all, without an error. This leaves some of them for other
/// loops.
pub(crate) fn steps_of_dispatch(turns: u64) -> u32 {
    (60_000 / turns.max(1)).max(1) as u32
}

/// Which of a text's two uses has `rows` rows, and its workgroups: 64 rows each where they have an invocation each, or else one.
pub(crate) fn team(is_alone: bool, together: &'static Shader, each_alone: &'static Shader, rows: u64) -> (&'static Shader, u64) {
    if is_alone { (each_alone, rows.div_ceil(64)) } else { (together, rows) }
}

/// Live keys and live query rows of an attention of M rows over N keys. Keys that are not given are all live. If query rows are not given,
/// as many are live as keys if M is N, and otherwise all.
pub(crate) fn live_of_attention(
    graph: &mut Graph,
    batch: u32,
    [rows, keys]: [u32; 2],
    lengths: Option<Tensor>,
    query_lengths: Option<Tensor>,
) -> [Tensor; 2] {
    let query_lengths = query_lengths.or(lengths.filter(|_| rows == keys));
    [lengths_or_full(graph, lengths, batch, keys), lengths_or_full(graph, query_lengths, batch, rows)]
}

/// A grid of tokens as a row of them.
pub(crate) fn flat(graph: &Graph, x: Tensor, grid: [u32; 2]) -> Result<Tensor, Error> {
    match *x.shape().dims() {
        [b, h, w, c] if [h, w] == grid && u64::from(h) * u64::from(w) <= u64::from(u32::MAX) => graph.reshape(x, [b, h * w, c]),
        _ => Ok(x),
    }
}

/// Batch and channels of a grid of floats `[B, h * w, C]`, if it has this size.
pub(crate) fn grid_of_floats(argument: &'static str, x: Desc, [h, w]: [u32; 2]) -> Result<[u32; 2], Error> {
    let [batch, places, channels] = x.shape.exactly(argument, "[B, h * w, C]")?;
    if u64::from(places) != u64::from(h) * u64::from(w) {
        return Err(Error::Shape { argument, expected: format!("[B, {h} * {w}, C]"), actual: x.shape });
    }
    if !x.elem.is_float() {
        return Err(Error::Elem { argument, expected: "f32, f16 or bf16", actual: x.elem });
    }
    Ok([batch, channels])
}

/// The same of an image, which has one of these numbers of channels.
pub(crate) fn image(argument: &'static str, x: Desc, size: [u32; 2], allowed: &[u32]) -> Result<[u32; 2], Error> {
    let [batch, channels] = grid_of_floats(argument, x, size)?;
    if !allowed.contains(&channels) {
        return Err(Error::Shape { argument, expected: format!("[B, h * w, C] with C among {allowed:?}"), actual: x.shape });
    }
    Ok([batch, channels])
}

/// Entries of a list of positions, and the stride from one batch row's to the next: 0 where all share one.
pub(crate) fn list(argument: &'static str, list: Desc, batch: u32) -> Result<(u32, u32), Error> {
    if list.elem != Elem::U32 {
        return Err(Error::Elem { argument, expected: "u32", actual: list.elem });
    }
    match *list.shape.dims() {
        [entries] => Ok((entries, 0)),
        [rows, entries] if rows == batch => Ok((entries, entries)),
        _ => Err(Error::Shape { argument, expected: format!("[entries] or [{batch}, entries]"), actual: list.shape }),
    }
}

/// A batch row's list.
pub(crate) fn list_of(list: &HostTensor, b: usize) -> &[u32] {
    match *list.shape().dims() {
        [_, entries] => &list.integers()[b * entries as usize..][..entries as usize],
        _ => list.integers(),
    }
}

/// The factor of dot products of so many channels.
pub(crate) fn scale_of(given: Option<f32>, channels: u32) -> f32 {
    given.unwrap_or_else(|| (1.0 / f64::from(channels.max(1)).sqrt()) as f32)
}
