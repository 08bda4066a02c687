//! Moving, merging and pooling tokens, and where each went.

mod assign_tokens;
mod concat_rows;
mod convert;
mod copy;
mod gather_rows;
mod group_tokens;
mod invert_index;
mod lookup;
mod merge_tokens;
mod pool;
mod strided_copy;
pub(crate) mod unfold;

pub use assign_tokens::{AssignInputs, AssignTokens, Assignment};
pub(crate) use concat_rows::keep_live;
pub use concat_rows::{Ragged, concat_rows};
pub use convert::convert;
pub(crate) use convert::convert_numbers;
pub(crate) use copy::copy_bytes;
pub use gather_rows::{gather_rows, scatter_rows};
pub use group_tokens::{Groups, group_tokens};
pub use invert_index::invert_index;
pub use lookup::lookup;
pub use merge_tokens::{Reduce, merge_tokens, merge_with_totals};
pub use pool::{PaddedWindows, Pool, Windows};
pub(crate) use strided_copy::{STRIDED_COPY, strided_copy};
pub use unfold::Window;

use crate::device::Shader;

/// The shaders of this room.
pub(super) fn shaders() -> Vec<&'static Shader> {
    vec![
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
        &pool::POOL,
        &strided_copy::MOVE,
        &strided_copy::PAIRS,
        &strided_copy::SCATTER_PAIRS,
        &unfold::UNFOLD,
    ]
}
