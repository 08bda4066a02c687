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

use crate::support::Case;

pub fn cases() -> Vec<Case> {
    let groups = [
        allocate::cases(),
        bipartite_match::cases(),
        compact::cases(),
        ends::cases(),
        float_ratio::cases(),
        frame_budget::cases(),
        greedy_select::cases(),
        grow_runs::cases(),
        multiples::cases(),
        previous_equal::cases(),
        ranges::cases(),
        run_segments::cases(),
        threshold::cases(),
        top_k::cases(),
    ];
    groups.into_iter().flatten().collect()
}
