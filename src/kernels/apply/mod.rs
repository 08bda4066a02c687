//! Moving, merging and pooling tokens, and where each went.

mod assign_tokens;
mod concat_rows;
mod convert;
mod copy;
mod gather_rows;
mod group_tokens;
mod heat_map;
mod invert_index;
mod lookup;
mod merge_tokens;
mod patches;
pub(crate) mod pixel_unshuffle;
mod pool;
mod strided_copy;
mod texture_copy;
pub(crate) mod unfold;

pub use assign_tokens::{AssignInputs, AssignTokens, Assignment};
pub(crate) use concat_rows::keep_live;
pub use concat_rows::{Ragged, concat_rows};
pub use convert::convert;
pub(crate) use convert::convert_numbers;
pub(crate) use copy::copy_bytes;
pub use gather_rows::{gather_rows, scatter_rows};
pub use group_tokens::{Groups, group_tokens};
pub use heat_map::HeatMap;
pub use invert_index::invert_index;
pub use lookup::lookup;
pub use merge_tokens::{Reduce, merge_tokens, merge_with_totals};
pub use patches::{Patches, Resize, Sampling};
pub use pixel_unshuffle::{ChannelOrder, PixelUnshuffle, TokenOrder};
pub use pool::{PaddedWindows, Pool, Windows};
pub(crate) use strided_copy::{STRIDED_COPY, strided_copy};
pub(crate) use texture_copy::{TEXTURE_COPY, texture_copy};
pub use unfold::Window;

use crate::device::Shader;

/// The shaders of this room.
pub(super) fn shaders() -> Vec<&'static Shader> {
    let mut all = vec![
        &assign_tokens::ASSIGN_TOKENS,
        &assign_tokens::ASSIGN_TOKENS_ALONE,
        &concat_rows::CONCAT,
        &convert::CONVERT,
        &copy::COPY,
        &gather_rows::GATHER,
        &gather_rows::FALLBACK,
        &group_tokens::GROUP_TOKENS,
        &group_tokens::SHORT_ROWS,
        &invert_index::FILL,
        &invert_index::PLACE,
        &lookup::LOOKUP,
        &merge_tokens::MERGE_TOKENS,
        &patches::PATCHES,
        &patches::OF_TEXTURE,
        &pixel_unshuffle::MOVE,
        &pixel_unshuffle::TRANSPOSE,
        &pool::POOL,
        &strided_copy::MOVE,
        &strided_copy::PAIRS,
        &strided_copy::SCATTER_PAIRS,
        &texture_copy::READ,
        &unfold::UNFOLD,
    ];
    all.extend(&texture_copy::WRITE);
    all.extend(heat_map::OF_BUFFER.iter().chain(&heat_map::OF_TEXTURE));
    all
}
