mod allocate;
mod bipartite_match;
mod compact;
mod frame_budget;
mod greedy_select;
mod grow_runs;
mod previous_equal;
mod run_segments;
mod threshold;
mod top_k;

use crate::support::Case;

pub fn cases() -> Vec<Case> {
    let groups = [
        allocate::cases(),
        bipartite_match::cases(),
        compact::cases(),
        frame_budget::cases(),
        greedy_select::cases(),
        grow_runs::cases(),
        previous_equal::cases(),
        run_segments::cases(),
        threshold::cases(),
        top_k::cases(),
    ];
    groups.into_iter().flatten().collect()
}
