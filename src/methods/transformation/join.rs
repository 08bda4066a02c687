//! How tokens become fewer and wider before a projector's layers.

use crate::error::Error;
use crate::graph::{Graph, Tensor};
use crate::kernels::{ChannelOrder, PixelUnshuffle, Pool};
use crate::methods::{mistral3_packed, nvlm_dynamic_resolution};

/// How tokens `[B, N, C]` become fewer.
///
/// Cost: one dispatch for blocks and for windows; one for packed images, two where their channels come first; none for tokens
/// that follow each other.
///
/// ```
/// use tokenpress::kernels::{Pool, Windows};
/// use tokenpress::methods::Join;
/// use tokenpress::{Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// let x = graph.constant(HostTensor::f32([1, 4, 1], vec![1.0, 2.0, 3.0, 6.0]));
/// // Two tokens of two channels; and one token, the mean of the 2 x 2.
/// let pairs = Join::Consecutive(2).build(&mut graph, x)?;
/// assert_eq!(pairs.shape().dims(), [1, 2, 2]);
/// let mean = Join::Pooled(Pool::Average(Windows::cells(2)), [2, 2]).build(&mut graph, x)?;
/// graph.output("mean", mean)?;
/// assert_eq!(graph.run_reference(&[].into())?["mean"].floats(), [3.0]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[doc(alias("patch_merger", "spatial_merge"))]
#[derive(Debug, Clone, PartialEq)]
pub enum Join {
    /// Blocks of the grid `[h, w]` that each row of the batch is.
    Blocks(PixelUnshuffle, [u32; 2]),
    /// `merge` x `merge` blocks of the images `[h, w]` that lie one after the other in each row of the batch:
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
