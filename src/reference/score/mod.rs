//! The CPU twins of [`kernels::score`](crate::kernels::score).

pub(crate) mod attention_score;
mod cumulative_sum;
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

pub use attention_score::{
    Attention, HeadReduction, Norm, Queries, RowReduction, Scoring, attention_lse, attention_lse_bound, attention_score,
    attention_score_bound,
};
pub use cumulative_sum::{cumulative_sum, cumulative_sum_bound};
pub use gaussian_similarity::gaussian_similarity;
pub use mean_affinity::{Affinity, Crowd, mean_affinity};
pub use min_max::{Range, min_max, min_max_bound};
pub use near_pairs::{Near, Vicinity, near_pairs};
pub use neighbours::{Rows, density, density_bound, neighbours, separation};
pub use pair_distance::{Distance, distance, distance_bound};
pub use pair_similarity::{Pairs, pair_similarity, pair_similarity_bound};
pub use pooled_attention::{Received, pooled_attention};
pub use quantile::{fence, fence_bound, quantile, quantile_bound};
pub use reduce::{Statistic, reduce, reduce_bound, reduce_integers};
pub use row_normalize::{row_normalize, row_normalize_bounds, unit_error};
pub use scaled_deviation::{scaled_deviation, scaled_deviation_bound};
