//! The CPU twins of [`kernels::select`](crate::kernels::select).

mod allocate;
mod bipartite_match;
mod compact;
mod ends;
mod float_ratio;
mod frame_budget;
mod greedy_select;
mod grow_runs;
mod multiples;
mod previous_equal;
mod ranges;
mod run_segments;
mod threshold;
mod top_k;

pub use allocate::{Leftover, allocate};
pub use bipartite_match::{Candidates, bipartite_match, cosine, cosine_bound, cosine_error, dot, dot_bound};
pub use compact::compact;
pub use ends::ends;
pub use float_ratio::float_ratio;
pub use frame_budget::{frame_budget, frame_shares};
pub use greedy_select::{Field, GreedySelection, Objective, Rank, greedy_select};
pub use grow_runs::{Growth, grow_runs};
pub use multiples::multiples;
pub use previous_equal::previous_equal;
pub use ranges::ranges;
pub use run_segments::run_segments;
pub use threshold::{Relation, threshold};
pub use top_k::{Ranking, mark, rank};
