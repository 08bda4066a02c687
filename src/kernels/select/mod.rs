//! Which tokens stay.

mod allocate;
mod bipartite_match;
mod compact;
mod components;
mod cover;
mod ends;
mod float_ratio;
mod frame_budget;
mod greedy_select;
mod grid_anchors;
mod grow_runs;
mod link_pairs;
mod multiples;
mod previous_equal;
mod ranges;
mod run_segments;
mod static_windows;
mod threshold;
mod top_k;

pub use super::partition::Partition;
pub use allocate::{Allocate, Leftover};
pub use bipartite_match::{BipartiteMatch, Matches};
pub use compact::{Compacted, compact};
pub use components::components;
pub use cover::cover;
pub use ends::{BothEnds, Ends};
pub use float_ratio::{FloatRatio, float_ratio};
pub use frame_budget::FrameBudget;
pub use greedy_select::{GreedyInputs, GreedySelect, GreedySelected, Objective};
pub use grid_anchors::GridAnchors;
pub use grow_runs::grow_runs;
pub use link_pairs::link_pairs;
pub use multiples::multiples;
pub use previous_equal::previous_equal;
pub use ranges::{Ranges, ranges};
pub use run_segments::{RunSegments, Segments};
pub use static_windows::StaticWindows;
pub use threshold::{Limit, Relation, Threshold, ThresholdInputs};
pub use top_k::{Order, Selection, TopK, TopKInputs, mark};

use crate::device::Shader;

/// The shaders of this room.
pub(super) fn shaders() -> Vec<&'static Shader> {
    vec![
        &allocate::ALLOCATE,
        &allocate::ALLOCATE_ALONE,
        &bipartite_match::BIPARTITE_MATCH,
        &bipartite_match::SHORT_ROWS,
        &compact::TALLY,
        &compact::COMPACT,
        &compact::SHORT_ROWS,
        &components::COMPONENTS,
        &cover::COVER,
        &ends::ENDS,
        &float_ratio::FLOAT_RATIO,
        &frame_budget::FRAME_BUDGET,
        &frame_budget::FRAME_BUDGET_ALONE,
        &greedy_select::START,
        &greedy_select::GRAM,
        &greedy_select::SELECT,
        &greedy_select::SHORT_ROWS,
        &greedy_select::GAINS,
        &grid_anchors::GRID_ANCHORS,
        &grow_runs::GROW_RUNS,
        &grow_runs::GROW_RUNS_ALONE,
        &link_pairs::LINK_PAIRS,
        &multiples::MULTIPLES,
        &previous_equal::PREVIOUS_EQUAL,
        &ranges::RANGES,
        &run_segments::RUN_SEGMENTS,
        &static_windows::STATIC_WINDOWS,
        &threshold::THRESHOLD,
        &top_k::COUNT,
        &top_k::SELECT,
        &top_k::ROW,
        &top_k::KEY,
        &top_k::DIGIT,
        &top_k::EMIT,
        &top_k::ORDER,
        &top_k::SORT,
        &top_k::MERGE,
        &top_k::FINISH,
    ]
}
