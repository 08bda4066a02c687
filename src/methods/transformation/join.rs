//! How tokens become fewer and wider before a projector's layers.

use crate::error::Error;
use crate::graph::{Graph, Tensor};
use crate::kernels::{ChannelOrder, PixelUnshuffle, Pool};
use crate::methods::{mistral3_packed, nvlm_dynamic_resolution};

/// How tokens `[B, N, C]` become fewer.
///
/// ```
/// use tokenpress::methods::Join;
/// use tokenpress::{Elem, Graph};
///
/// let mut graph = Graph::new();
/// let x = graph.input("x", [1, 12, 2], Elem::F32);
/// assert_eq!(Join::Consecutive(4).build(&mut graph, x)?.shape(), [1, 3, 8].into());
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub enum Join {
    /// Blocks of the grid `[h, w]` that each row of the batch is.
    Blocks(PixelUnshuffle, [u32; 2]),
    /// `merge` x `merge` blocks of the images `[h, w]` that lie behind each other in each row of the batch:
    /// [`nvlm_dynamic_resolution`], [`mistral3_packed`].
    Packed {
        /// Order within a block.
        order: ChannelOrder,
        /// Rows and columns of each image.
        images: Vec<[u32; 2]>,
        /// Rows and columns of a block.
        merge: u32,
    },
    /// So many tokens that follow each other: patches in the order of
    /// [`qwen2_vl_patch_order`](crate::methods::qwen2_vl_patch_order). Nothing moves.
    Consecutive(u32),
    /// Windows of the grid `[h, w]` that each row of the batch is.
    Pooled(Pool, [u32; 2]),
}

impl Join {
    /// The joined tokens of `x` `[B, N, C]`: `[B, N', C']`.
    pub fn build(&self, graph: &mut Graph, x: Tensor) -> Result<Tensor, Error> {
        match self {
            Self::Blocks(blocks, grid) => blocks.unshuffle_tokens(graph, x, *grid),
            Self::Packed { order: ChannelOrder::PositionFirst, images, merge } => nvlm_dynamic_resolution(graph, x, images, *merge),
            Self::Packed { order: ChannelOrder::ChannelFirst, images, merge } => mistral3_packed(graph, x, images, *merge),
            Self::Pooled(pool, grid) => pool.build(graph, x, *grid, None),
            Self::Consecutive(count) => {
                let [batch, tokens, channels] = x.shape().exactly("projector: x", "[B, N, C]")?;
                match channels.checked_mul(*count) {
                    Some(wide) if *count > 0 && tokens.is_multiple_of(*count) => graph.reshape(x, [batch, tokens / count, wide]),
                    _ => Err(Error::Shape {
                        argument: "projector: x",
                        expected: format!("[B, N, C] with a multiple of {count} tokens, of fewer than 2^32 channels together"),
                        actual: x.shape(),
                    }),
                }
            }
        }
    }
}
