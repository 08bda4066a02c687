//! Rows of a text, as many at a time as their attention to every token may take memory.

use std::ops::Range;

use crate::error::Error;
use crate::graph::{Graph, Tensor};
use crate::kernels::{Statistic, reduce};
use crate::methods::parts::lists::{live_mask, rows_of};

/// Rows of a block. The first row of a text is the first of a block, so that a row of a batch has the same blocks as the row alone.
pub(crate) const BLOCK: u32 = 64;

/// The blocks of so many rows; of none one that is empty.
pub(crate) fn blocks(rows: u32) -> impl Iterator<Item = Range<u32>> {
    (0..rows.div_ceil(BLOCK).max(1)).map(move |block| block * BLOCK..rows.min((block + 1) * BLOCK))
}

/// How many of each block's rows are among the first `lengths` `[batch]`: u32 `[batch]` for each.
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
