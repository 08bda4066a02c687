mod attention_score;
mod density_peaks;
mod gaussian_similarity;
mod min_max;
mod neighbours;
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
        density_peaks::cases(),
        gaussian_similarity::cases(),
        min_max::cases(),
        neighbours::cases(),
        pair_similarity::cases(),
        pooled_attention::cases(),
        quantile::cases(),
        reduce::cases(),
        row_normalize::cases(),
        scaled_deviation::cases(),
    ];
    groups.into_iter().flatten().collect()
}
