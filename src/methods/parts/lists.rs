//! Lists and masks of the tokens of a batch.

use std::ops::Range;

use crate::error::Error;
use crate::graph::{Graph, Tensor, expect_listed};
use crate::kernels::{
    Groups, Limit, Order, Statistic, Threshold, ThresholdInputs, TopK, TopKInputs, compact, concat_rows, gather_rows, invert_index, lookup,
    mark, reduce,
};
use crate::pattern::Pattern;
use crate::tensor::{Desc, Elem, HostTensor, Shape};
use crate::token_map::{capped, plus_one};

/// The same list for every batch row, `[batch, entries]`.
pub(crate) fn each_row(graph: &mut Graph, batch: u32, list: &[u32]) -> Result<Tensor, Error> {
    graph.listed("list", [batch, list.len() as u32], || list.repeat(batch as usize))
}

/// The tokens of a list `[batch, entries]` as one group.
pub(crate) fn as_one(graph: &mut Graph, members: Tensor) -> Result<Groups, Error> {
    let [batch, entries] = members.shape().exactly("members", "[batch, entries]")?;
    Ok(Groups { offsets: graph.counted([batch, 2], 0, entries), members })
}

/// One of two numbers for each index: the first for those below `end`, the second for all others, [`NONE`](crate::NONE) among them.
pub(crate) fn choose(graph: &mut Graph, index: Tensor, end: u32, [below, other]: [u32; 2]) -> Result<Tensor, Error> {
    let table = Desc::new([plus_one("list", end)?], Elem::U32);
    let table = graph.pattern(table, Pattern::split(end, below, other));
    lookup(graph, table, index)
}

/// The first or the second list of each row, `[batch, entries]` both, by `choice` `[batch, 1]` u32.
pub(crate) fn either(graph: &mut Graph, choice: Tensor, lists: [Tensor; 2]) -> Result<Tensor, Error> {
    let [batch, entries] = lists[0].shape().exactly("list", "[batch, entries]")?;
    // Both as tokens of a row.
    let [first, second] = lists.map(|list| graph.reshape(list, [batch, 1, entries]));
    let (both, _) = concat_rows(graph, (first?, None), (second?, None))?;
    let chosen = gather_rows(graph, both, choice, None)?;
    graph.reshape(chosen, [batch, entries])
}

/// An entry of the first tensor where `choice` is 0, and of the second where it is [`NONE`](crate::NONE); all u32 of one shape.
pub(crate) fn pick(graph: &mut Graph, choice: Tensor, lists: [Tensor; 2]) -> Result<Tensor, Error> {
    let shape = choice.shape();
    let wrong = || Error::Shape { argument: "list", expected: "fewer than 2^32 entries".to_owned(), actual: shape };
    let entries = u32::try_from(shape.elements()).map_err(|_| wrong())?;
    let [choice, first, second] = [choice, lists[0], lists[1]].map(|list| graph.reshape(list, [entries, 1]));
    let picked = gather_rows(graph, first?, choice?, Some(second?))?;
    graph.reshape(picked, shape)
}

/// 1 for the first `lengths[b]` of so many tokens, `[batch, tokens]` u32.
pub(crate) fn live_mask(graph: &mut Graph, lengths: Tensor, tokens: u32) -> Result<Tensor, Error> {
    let [batch] = lengths.shape().exactly("tokens: lengths", "[batch]")?;
    let any = graph.filled_f32([batch, tokens], 0.0);
    let every = graph.filled([tokens], mark::PROTECTED);
    let inputs = ThresholdInputs { lengths: Some(lengths), marks: Some(every), ..ThresholdInputs::new(any, Limit::Constant(0.0)) };
    Threshold::default().build(graph, inputs)
}

/// 1 for the live tokens that are protected, and for those `among` that are not excluded, `[batch, tokens]` u32. All are live without
/// `lengths`, and candidates without `marks`.
pub(crate) fn allowed(
    graph: &mut Graph,
    shape: [u32; 2],
    lengths: Option<Tensor>,
    marks: Option<Tensor>,
    among: Tensor,
) -> Result<Tensor, Error> {
    // Every score is above the limit.
    let any = graph.filled_f32(shape, 0.0);
    let any = ThresholdInputs::new(any, Limit::Constant(-1.0));
    Threshold::default().build(graph, ThresholdInputs { lengths, marks, among: Some(among), ..any })
}

/// The live tokens of a list `[entries]` or `[batch, entries]`, in its order, [`NONE`](crate::NONE) after them, and how many.
pub(crate) fn live_entries(graph: &mut Graph, list: Tensor, live: Tensor) -> Result<(Tensor, Tensor), Error> {
    let [batch, _] = live.shape().exactly("live tokens", "[batch, tokens]")?;
    let entries = list.shape().dims().last().copied().unwrap_or(0);
    // An entry that is no token's is not alive either.
    let dead = graph.filled([batch, entries], 0);
    let flags = gather_rows(graph, live, list, Some(dead))?;
    let kept = compact(graph, flags, None)?;
    let listed = match *list.shape().dims() {
        [_, _] => gather_rows(graph, list, kept.indices, None)?,
        _ => {
            let list = graph.reshape(list, [1, entries])?;
            let all = product("list", kept.indices.shape(), batch, entries)?;
            let index = graph.reshape(kept.indices, [1, all])?;
            gather_rows(graph, list, index, None)?
        }
    };
    Ok((graph.reshape(listed, [batch, entries])?, kept.counts))
}

/// The first entries of each row of `list` `[batch, entries]`, or rows of more where there are more.
pub(crate) fn first_entries(graph: &mut Graph, list: Tensor, entries: u32) -> Result<Tensor, Error> {
    let [_, all] = list.shape().exactly("list", "[batch, entries]")?;
    if all == entries {
        return Ok(list);
    }
    rows_of(graph, list, 0..entries)
}

/// A [`mark`](crate::kernels::mark) for each of `tokens` tokens: `listed` for those of `indices` `[batch, entries]`, candidates for the
/// others.
pub(crate) fn marks_of(graph: &mut Graph, indices: Tensor, tokens: u32, listed: u32) -> Result<Tensor, Error> {
    let place = invert_index(graph, indices, tokens)?;
    let [_, entries] = indices.shape().exactly("list", "[batch, entries]")?;
    choose(graph, place, entries, [listed, mark::CANDIDATE])
}

/// Tokens of a range of every row of `x` `[batch, tokens, ..]`.
pub(crate) fn rows_of(graph: &mut Graph, x: Tensor, range: Range<u32>) -> Result<Tensor, Error> {
    let index = graph.counted([range.end.saturating_sub(range.start)], range.start, 1);
    gather_rows(graph, x, index, None)
}

/// What a selection takes, as 1 for every entry that it does.
pub(crate) fn select_mask(graph: &mut Graph, select: TopK, inputs: TopKInputs) -> Result<Tensor, Error> {
    let selection = TopK { order: Order::Index, mask: true, ..select }.build(graph, inputs)?;
    // A mask was asked for just above.
    Ok(selection.mask.unwrap_or(selection.indices))
}

/// 1 over each count, of which one above `most` counts as `most` and 0 as 1: f32 `[batch, 1]` for u32 `[batch]`.
pub(crate) fn reciprocal(graph: &mut Graph, counts: Tensor, most: u32) -> Result<Tensor, Error> {
    let [batch] = counts.shape().exactly("counts", "[batch]")?;
    let entries = plus_one("counts", most)?;
    expect_listed("counts", [entries].into())?;
    let table = (0..=most).map(|count| 1.0 / count.max(1) as f32).collect();
    let table = graph.constant(HostTensor::f32([1, entries], table));
    let counts = capped(graph, counts, most)?;
    let counts = graph.reshape(counts, [1, batch])?;
    let found = gather_rows(graph, table, counts, None)?;
    graph.reshape(found, [batch, 1])
}

/// Two sizes of a tensor as one, where that is a size too.
pub(crate) fn product(argument: &'static str, shape: Shape, first: u32, second: u32) -> Result<u32, Error> {
    let wrong = || Error::Shape { argument, expected: "dimensions whose products stay below 2^32".to_owned(), actual: shape };
    first.checked_mul(second).ok_or_else(wrong)
}

/// Rows of a text whose attention to every token is in memory at a time. The first row of a text is the first of a block, so that a row of
/// a batch has the same blocks as the row alone.
const BLOCK: u32 = 64;

/// The blocks of so many rows of a text; of none one that is empty.
pub(crate) fn blocks(rows: u32) -> impl Iterator<Item = Range<u32>> {
    (0..rows.div_ceil(BLOCK).max(1)).map(move |block| block * BLOCK..rows.min((block + 1) * BLOCK))
}

/// How many of the rows of each of these blocks are among the first `lengths` `[batch]`: u32 `[batch]` for each.
pub(crate) fn live_of_blocks(graph: &mut Graph, lengths: Tensor, rows: u32) -> Result<Vec<Tensor>, Error> {
    if rows <= BLOCK {
        return Ok(vec![lengths]);
    }
    let [batch] = lengths.shape().exactly("text: lengths", "[batch]")?;
    let count = rows.div_ceil(BLOCK);
    let live = live_mask(graph, lengths, count * BLOCK)?;
    let live = graph.reshape(live, [batch, count, BLOCK])?;
    let live = reduce(graph, live, 2, Statistic::Sum, None)?;
    let mut of_block = |block: u32| {
        let live = rows_of(graph, live, block..block + 1)?;
        graph.reshape(live, [batch])
    };
    (0..count).map(&mut of_block).collect()
}
