//! The CPU twins: plain functions over slices, written to be read. Sums are in f64.

mod activation;
mod assign_tokens;
mod attention;
mod attention_score;
mod bipartite_match;
mod compact;
mod concat_rows;
mod convolution;
mod deformable_sample;
mod elementwise;
mod gather_rows;
mod group_tokens;
mod grow_runs;
mod invert_index;
mod layer_norm;
mod linear;
mod log_size;
mod lookup;
mod merge_tokens;
mod neighbours;
mod pair_similarity;
mod pixel_unshuffle;
mod pool;
mod quantile;
mod previous_equal;
mod reduce;
mod row_normalize;
mod run_segments;
mod threshold;
mod top_k;
mod unfold;

pub use activation::Activation;
pub use assign_tokens::{Assign, assign_tokens};
pub use attention::{Values, attention, attention_bound};
pub use attention_score::{
    Attention, HeadReduction, Norm, Queries, RowReduction, Scoring, attention_lse, attention_lse_bound, attention_score,
    attention_score_bound,
};
pub use bipartite_match::{Candidates, bipartite_match, cosine_error, dot, dot_bound};
pub use compact::compact;
pub use concat_rows::concat_rows;
pub use convolution::{depthwise_convolution, depthwise_convolution_bound};
pub use deformable_sample::{DeformableSampling, deformable_sample, deformable_sample_bound};
pub use elementwise::{Operation, Pairing, elementwise, elementwise_bound};
pub use gather_rows::gather_rows;
pub use group_tokens::group_tokens;
pub use grow_runs::{Growth, grow_runs};
pub use invert_index::invert_index;
pub use layer_norm::{RowScale, layer_norm, layer_norm_bound};
pub use linear::{linear, linear_bound};
pub use log_size::{log_size, log_size_bound};
pub use lookup::lookup;
pub use merge_tokens::{Merge, Reduce, merge_tokens, merge_tokens_bound};
pub use neighbours::{Rows, density, density_bound, neighbours, separation};
pub use pair_similarity::{Pairs, pair_similarity, pair_similarity_bound};
pub use pixel_unshuffle::{BlockLayout, pixel_shuffle, pixel_unshuffle};
pub use pool::{Axis, Grids, Pooling, pool, pool_bound};
pub use quantile::{fence, fence_bound, quantile, quantile_bound};
pub use previous_equal::previous_equal;
pub use reduce::{Statistic, reduce, reduce_bound, reduce_integers};
pub use row_normalize::{row_normalize, row_normalize_bounds, unit_error};
pub use run_segments::run_segments;
pub use threshold::{Relation, threshold};
pub use top_k::{Ranking, rank};
pub use unfold::{Sliding, unfold};
