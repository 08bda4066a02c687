//! What LLaMA-VID keeps of a frame whatever the text asks for.

use crate::error::Error;
use crate::graph::{Graph, Tensor};
use crate::kernels::{Pool, Statistic, Windows, reduce};

/// What is left of a frame besides its context token: an option of [`LlamaVid`](crate::methods::LlamaVid), where there is an
/// example.
///
/// Cost: one dispatch, [`reduce`] or [`Pool`]; none for [`Content::All`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Content {
    /// The mean of its tokens.
    Mean,
    /// Means over cells of its grid, as in the published code. A cell has `floor(rows / g)` rows and `floor(columns / g)` columns. There
    /// are g x g cells, and more if g is not a divisor: a grid of 7 with g = 4 stays as it is.
    Grid(u32),
    /// Every token.
    All,
}

impl Content {
    /// Means of `frames` `[F, h * w, C]`: `[F, contents, C]`.
    pub(crate) fn of(self, graph: &mut Graph, frames: Tensor, grid: [u32; 2]) -> Result<Tensor, Error> {
        match self {
            Self::Mean => {
                let [count, _, channels] = frames.shape().exactly("llama_vid: frames", "[F, h * w, C]")?;
                let mean = reduce(graph, frames, 1, Statistic::Mean, None)?;
                graph.reshape(mean, [count, 1, channels])
            }
            Self::Grid(cells) => {
                if cells == 0 || grid.iter().any(|side| *side < cells) {
                    let expected = format!("1 to the smaller side of {grid:?}");
                    return Err(Error::Value { argument: "llama_vid: grid", expected, actual: cells.to_string() });
                }
                let size = grid.map(|side| side / cells);
                Pool::Average(Windows::Strided { size, stride: size, partial: false }).build(graph, frames, grid, None)
            }
            Self::All => Ok(frames),
        }
    }
}
