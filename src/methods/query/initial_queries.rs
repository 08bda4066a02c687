//! What the queries of Honeybee's D-Abstractor begin as.

use crate::error::Error;
use crate::graph::{Graph, Tensor};
use crate::kernels::{Pool, Windows};
use crate::methods::parts::affine::repeat;

/// What the queries begin as: their contents and their positions, learned `[Q, C]` or pooled from the image. It is an option of
/// [`DAbstractor`](crate::methods::DAbstractor), where there is an example.
///
/// Cost: one [`Pool`] where something is pooled, one copy of the learned contents for every image.
#[derive(Debug, Clone, Copy)]
pub enum InitialQueries {
    /// Neither is pooled. Published weights have both as one embedding, positions first.
    Learned {
        /// Learned contents.
        contents: Tensor,
        /// Learned positions.
        positions: Tensor,
    },
    /// Positions are the image's average over so many rows and columns of windows: `pooled_v_target: query`.
    PooledPositions {
        /// Learned contents.
        contents: Tensor,
        /// Rows and columns, Q together.
        outputs: [u32; 2],
    },
    /// Contents are the image's average over so many rows and columns of windows: `pooled_v_target: tgt`.
    PooledContents {
        /// Learned positions.
        positions: Tensor,
        /// Rows and columns, Q together.
        outputs: [u32; 2],
    },
}

impl InitialQueries {
    /// Contents `[B, Q, C]` and positions, for images `[B, h * w, C]`.
    pub(crate) fn of(self, graph: &mut Graph, image: Tensor, grid: [u32; 2]) -> Result<(Tensor, Tensor), Error> {
        let [batch, _, _] = image.shape().exactly("d_abstractor: x", "[B, h * w, C]")?;
        let pooled = |graph: &mut Graph, outputs| Pool::Average(Windows::Adaptive { outputs }).build(graph, image, grid, None);
        let repeated = |graph: &mut Graph, contents| repeat(graph, "d_abstractor: contents", contents, batch);
        Ok(match self {
            Self::Learned { contents, positions } => (repeated(graph, contents)?, positions),
            Self::PooledPositions { contents, outputs } => (repeated(graph, contents)?, pooled(graph, outputs)?),
            Self::PooledContents { positions, outputs } => (pooled(graph, outputs)?, positions),
        })
    }
}
