//! Every case of the grid, one file for each kernel or method.

mod allocate;
mod assign_tokens;
mod attention;
mod attention_score;
mod bipartite_match;
mod compact;
mod concat_rows;
mod convolution;
mod copy;
mod deformable_sample;
mod density_peaks;
mod elementwise;
mod frame_budget;
mod gather_rows;
mod gaussian_similarity;
mod greedy_select;
mod group_tokens;
mod grow_runs;
mod invert_index;
mod layer_norm;
mod linear;
mod log_size;
mod lookup;
mod merge_attention;
mod merge_tokens;
pub mod methods;
mod min_max;
mod neighbours;
mod pair_similarity;
mod pixel_unshuffle;
mod pool;
mod pooled_attention;
mod previous_equal;
mod quantile;
mod reduce;
mod row_normalize;
mod run_segments;
mod threshold;
mod top_k;
mod unfold;

use super::Case;

pub fn all() -> Vec<Case> {
    let groups = [
        allocate::cases(),
        assign_tokens::cases(),
        attention::cases(),
        attention_score::cases(),
        bipartite_match::cases(),
        compact::cases(),
        concat_rows::cases(),
        convolution::cases(),
        copy::cases(),
        deformable_sample::cases(),
        elementwise::cases(),
        density_peaks::cases(),
        frame_budget::cases(),
        gather_rows::cases(),
        gaussian_similarity::cases(),
        greedy_select::cases(),
        group_tokens::cases(),
        grow_runs::cases(),
        invert_index::cases(),
        layer_norm::cases(),
        linear::cases(),
        log_size::cases(),
        lookup::cases(),
        merge_attention::cases(),
        merge_tokens::cases(),
        min_max::cases(),
        methods::cases(),
        pair_similarity::cases(),
        neighbours::cases(),
        pixel_unshuffle::cases(),
        pool::cases(),
        quantile::cases(),
        pooled_attention::cases(),
        previous_equal::cases(),
        reduce::cases(),
        row_normalize::cases(),
        run_segments::cases(),
        threshold::cases(),
        top_k::cases(),
        unfold::cases(),
    ];
    groups.into_iter().flatten().collect()
}
