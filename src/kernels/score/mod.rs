//! Which tokens matter, and which are alike.

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
mod row_normalize;
mod scaled_deviation;

pub use attention_score::{AttentionInputs, AttentionScore, HeadReduction, Importance, Norm, Queries, RowReduction};
pub use cumulative_sum::cumulative_sum;
pub(crate) use density_peaks::density_peaks_of;
pub use density_peaks::{Peaks, density_peaks};
pub use gaussian_similarity::gaussian_similarity;
pub use mean_affinity::{Affinity, mean_affinity};
pub use min_max::MinMax;
pub use near_pairs::{Near, NearPairs};
pub use neighbours::{Among, Nearest, Neighbours};
pub use pair_distance::{Distance, pair_distance};
pub use pair_similarity::{pair_similarity, previous_at};
pub use pooled_attention::{PoolImportance, PooledAttention};
pub use quantile::{fence, quantile};
pub use reduce::{Statistic, reduce};
pub use row_normalize::{Normalized, row_normalize};
pub use scaled_deviation::scaled_deviation;

use crate::device::Shader;

/// The shaders of this room.
pub(super) fn shaders() -> Vec<&'static Shader> {
    vec![
        &attention_score::LOGITS,
        &attention_score::LOGITS_ALONE,
        &attention_score::STORED_SUMS,
        &attention_score::ROW_SUMS,
        &attention_score::COLUMNS,
        &attention_score::KEPT_COLUMNS,
        &attention_score::SCORE,
        &cumulative_sum::CUMULATIVE_SUM,
        &density_peaks::DENSITY,
        &density_peaks::ROWS,
        &density_peaks::SHORT_ROWS,
        &density_peaks::PEAKS,
        &gaussian_similarity::GAUSSIAN_SIMILARITY,
        &mean_affinity::MEAN_AFFINITY,
        &min_max::MIN_MAX,
        &pair_distance::PAIR_DISTANCE,
        &pair_similarity::PAIR_SIMILARITY,
        &near_pairs::NEAR_PAIRS,
        &neighbours::KEYS,
        &neighbours::KEYS_BY_DISTANCE,
        &neighbours::NEIGHBOURS,
        &neighbours::SHORT_ROWS,
        &quantile::QUANTILE,
        &pooled_attention::SHORT_SUMS,
        &pooled_attention::SHORT,
        &pooled_attention::FRAMES,
        &pooled_attention::POOLED_ATTENTION,
        &reduce::REDUCE,
        &reduce::INTEGERS,
        &row_normalize::ROW_NORMALIZE,
        &scaled_deviation::SCALED_DEVIATION,
    ]
}
