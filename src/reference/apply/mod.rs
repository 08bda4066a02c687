//! The CPU twins of [`kernels::apply`](crate::kernels::apply).

mod assign_tokens;
mod concat_rows;
mod convert;
mod gather_rows;
mod group_tokens;
mod invert_index;
mod lookup;
mod merge_tokens;
mod pool;
mod unfold;

pub use assign_tokens::{Assign, assign_tokens};
pub use concat_rows::concat_rows;
pub use convert::convert;
pub use gather_rows::gather_rows;
pub use group_tokens::group_tokens;
pub use invert_index::invert_index;
pub use lookup::lookup;
pub use merge_tokens::{Merge, Reduce, merge_tokens, merge_tokens_bound};
pub use pool::{Axis, Grids, Pooling, pool, pool_bound};
pub use unfold::{Sliding, unfold};
