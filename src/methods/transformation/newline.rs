//! Learned tokens that separate rows and frames: what LLaVA-NeXT and LLaVA-Video share.

use crate::error::Error;
use crate::graph::{Graph, Tensor};
use crate::kernels::concat_rows;
use crate::methods::parts::affine::repeat;

/// Where a learned token `[C]` separates the tokens (`mm_newline_position`): an option of
/// [`LlavaVideo`](crate::methods::LlavaVideo), where there is an example.
///
/// Cost: two dispatches, a copy of the token for each place and a copy of all tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub enum Newline {
    /// Nowhere (`no_token`).
    #[default]
    None,
    /// Behind every row of every frame (`grid`).
    EachRow(Tensor),
    /// Behind every frame (`frame`).
    EachFrame(Tensor),
    /// Once, after the last frame (`one_token`).
    End(Tensor),
}

/// The learned token `[C]` after the tokens of every batch row.
pub(crate) fn appended(graph: &mut Graph, x: Tensor, row: Tensor) -> Result<Tensor, Error> {
    let [batch, _, channels] = x.shape().exactly("llava_video: x", "[B, N, C]")?;
    let row = graph.reshape(row, [1, channels])?;
    let rows = repeat(graph, "llava_video: newline", row, batch)?;
    Ok(concat_rows(graph, (x, None), (rows, None))?.0)
}

/// The same after every row of grids `[B, rows * columns, C]`.
pub(crate) fn behind_rows(graph: &mut Graph, x: Tensor, [rows, columns]: [u32; 2], row: Tensor) -> Result<Tensor, Error> {
    let [batch, _, channels] = x.shape().exactly("llava_video: x", "[B, N, C]")?;
    let x = graph.reshape(x, [batch * rows, columns, channels])?;
    let x = appended(graph, x, row)?;
    graph.reshape(x, [batch, rows * (columns + 1), channels])
}
