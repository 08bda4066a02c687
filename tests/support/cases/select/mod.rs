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

use crate::support::Case;

pub fn cases() -> Vec<Case> {
    let groups = [
        allocate::cases(),
        bipartite_match::cases(),
        compact::cases(),
        components::cases(),
        cover::cases(),
        ends::cases(),
        float_ratio::cases(),
        frame_budget::cases(),
        greedy_select::cases(),
        grid_anchors::cases(),
        grow_runs::cases(),
        link_pairs::cases(),
        multiples::cases(),
        previous_equal::cases(),
        ranges::cases(),
        run_segments::cases(),
        static_windows::cases(),
        threshold::cases(),
        top_k::cases(),
    ];
    groups.into_iter().flatten().collect()
}
