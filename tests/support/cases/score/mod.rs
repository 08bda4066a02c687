mod attention_score;
mod cumulative_sum;
mod density_peaks;
mod gaussian_similarity;
mod mean_affinity;
mod min_max;
mod near_pairs;
mod neighbours;
mod pair_distance;
mod pair_similarity;
mod pooled_attention;
mod quantile;
mod reduce;
pub mod row_normalize;
mod scaled_deviation;

use crate::support::Case;

pub fn cases() -> Vec<Case> {
    let groups = [
        attention_score::cases(),
        cumulative_sum::cases(),
        density_peaks::cases(),
        gaussian_similarity::cases(),
        mean_affinity::cases(),
        min_max::cases(),
        near_pairs::cases(),
        neighbours::cases(),
        pair_distance::cases(),
        pair_similarity::cases(),
        pooled_attention::cases(),
        quantile::cases(),
        reduce::cases(),
        row_normalize::cases(),
        scaled_deviation::cases(),
    ];
    groups.into_iter().flatten().collect()
}
