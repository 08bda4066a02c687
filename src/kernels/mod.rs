//! The kernels: one file each, pairing shaders with a CPU reference.
//!
//! A kernel is a plain struct of options. Its method on a [`Graph`] checks shapes and adds one
//! call; [`Kernel`] is how the graph runs that call on either side.

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
mod min_max;
mod neighbours;
mod pair_similarity;
mod partition;
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

use std::fmt::Debug;
use std::ops::RangeInclusive;

pub use allocate::{Allocate, Leftover};
pub use assign_tokens::{AssignInputs, AssignTokens, Assignment};
pub use attention::{Attended, Attention, Heads, QueryKeyValue};
pub use attention_score::{AttentionInputs, AttentionScore, HeadReduction, Importance, Norm, Queries, RowReduction};
pub use bipartite_match::{BipartiteMatch, Matches};
pub use compact::{Compacted, compact};
pub(crate) use concat_rows::keep_live;
pub use concat_rows::{Ragged, concat_rows};
pub use convolution::Convolution;
pub(crate) use copy::{copy, copy_bytes};
pub use deformable_sample::{DeformableInputs, DeformableSample, Points};
pub use density_peaks::{Peaks, density_peaks};
pub use elementwise::{Elementwise, Operation, activate, add, multiply, scale};
pub use frame_budget::FrameBudget;
pub use gather_rows::{gather_rows, scatter_rows};
pub use gaussian_similarity::gaussian_similarity;
pub use greedy_select::{GreedyInputs, GreedySelect, GreedySelected, Objective};
pub use group_tokens::{Groups, group_tokens};
pub use grow_runs::grow_runs;
pub use invert_index::invert_index;
pub use layer_norm::LayerNorm;
pub use linear::{Activation, Linear, linear};
pub use log_size::log_size;
pub use lookup::lookup;
pub use merge_attention::merge_attention;
pub use merge_tokens::{Reduce, merge_tokens, merge_with_totals};
pub use min_max::MinMax;
pub use neighbours::{Among, Nearest, Neighbours};
pub use pair_similarity::{pair_similarity, previous_at};
pub use partition::Partition;
pub use pixel_unshuffle::{ChannelOrder, PixelUnshuffle, TokenOrder};
pub use pool::{Pool, Windows};
pub use pooled_attention::{PoolImportance, PooledAttention};
pub use previous_equal::previous_equal;
pub use quantile::{fence, quantile};
pub use reduce::{Statistic, reduce};
pub use row_normalize::{Normalized, row_normalize};
pub use run_segments::{RunSegments, Segments};
pub use threshold::{Limit, Relation, Threshold, ThresholdInputs};
pub use top_k::{Order, Selection, TopK, TopKInputs, mark};
pub use unfold::Window;

use crate::compare::Comparison;
use crate::error::Error;
use crate::gpu::{Lowering, Shader};
use crate::graph::{Graph, Tensor};
use crate::tensor::{Desc, Elem, HostTensor};

/// What a kernel call costs at least, whatever the implementation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Work {
    /// Bytes that must be read and written: every input once, every output once.
    pub bytes: u64,
    /// Floating-point operations.
    pub flops: u64,
}

/// One kernel: shapes, GPU side, CPU side.
///
/// Implemented by this crate's kernels; an application can add its own. A kernel is pure, and its `Debug` text
/// shows every option: calls with equal text and inputs are made once.
pub trait Kernel: Debug + Send + Sync {
    /// The kernel's name: stem of its shader, its host file and its reference.
    fn name(&self) -> &'static str;

    /// Names of the outputs, for displays and comparisons.
    fn output_names(&self) -> &'static [&'static str];

    /// How many inputs it reads, if a caller can get that wrong: any for a kernel that only a function of its own calls.
    /// [`Graph::call`] checks it before it asks for the outputs.
    fn input_count(&self) -> RangeInclusive<usize> {
        0..=usize::MAX
    }

    /// Checks shapes, element types and options, and gives the outputs' descriptions. `inputs` are as many as [`Kernel::input_count`] says.
    fn outputs(&self, inputs: &[Desc]) -> Result<Vec<Desc>, Error>;

    /// The same computation on the CPU: plain loops, sums in f64.
    fn reference(&self, inputs: &[&HostTensor]) -> Vec<HostTensor>;

    /// Adds the call's dispatches.
    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<(), Error>;

    /// Which inputs have the batch as their outermost dimension, if the call may be split over the batch;
    /// all outputs then have it too.
    fn batched_inputs(&self, _inputs: &[Desc]) -> Option<Vec<bool>> {
        None
    }

    /// Floating-point operations of the definition.
    fn flops(&self, _inputs: &[Desc]) -> u64 {
        0
    }

    /// Compulsory bytes, if they differ from every input and every output once.
    fn bytes(&self, inputs: &[Desc], outputs: &[Desc]) -> u64 {
        inputs.iter().chain(outputs).map(Desc::bytes).sum()
    }

    /// Compares a run's outputs with the reference's on the same inputs, one comparison an output.
    /// Bit-equal unless the kernel rounds.
    fn compare(&self, _inputs: &[&HostTensor], expected: &[HostTensor], actual: &[HostTensor]) -> Vec<Comparison> {
        expected.iter().zip(actual).map(|(e, a)| Comparison::exact(e, a)).collect()
    }
}

/// An error unless a tensor has this shape and element type.
pub(crate) fn expect(argument: &'static str, actual: Desc, expected: Desc) -> Result<(), Error> {
    if actual.elem != expected.elem {
        let expected = match expected.elem {
            Elem::F32 => "f32",
            Elem::F16 => "f16",
            Elem::U32 => "u32",
        };
        return Err(Error::Elem { argument, expected, actual: actual.elem });
    }
    if actual.shape != expected.shape {
        return Err(Error::Shape { argument, expected: expected.shape.to_string(), actual: actual.shape });
    }
    Ok(())
}

/// The caller's lengths, or `tokens` for every batch row.
pub(crate) fn lengths_or_full(graph: &mut Graph, lengths: Option<Tensor>, batch: u32, tokens: u32) -> Tensor {
    lengths.unwrap_or_else(|| graph.filled([batch], tokens))
}

/// Live keys and live query rows of an attention of M rows over N keys, where some are not given: all keys, and as many rows as keys
/// where M is N, or else all rows.
fn live_of_attention(
    graph: &mut Graph,
    batch: u32,
    [rows, keys]: [u32; 2],
    lengths: Option<Tensor>,
    query_lengths: Option<Tensor>,
) -> [Tensor; 2] {
    let query_lengths = query_lengths.or(lengths.filter(|_| rows == keys));
    [lengths_or_full(graph, lengths, batch, keys), lengths_or_full(graph, query_lengths, batch, rows)]
}

/// A grid of tokens as a row of them.
pub(super) fn flat(graph: &Graph, x: Tensor, grid: [u32; 2]) -> Result<Tensor, Error> {
    match *x.shape().dims() {
        [b, h, w, c] if [h, w] == grid && u64::from(h) * u64::from(w) <= u64::from(u32::MAX) => graph.reshape(x, [b, h * w, c]),
        _ => Ok(x),
    }
}

/// Every shader of the crate, for those who test, dump or warm them up.
pub fn shaders() -> Vec<&'static Shader> {
    let groups: &[&[&'static Shader]] = &[
        &[&allocate::ALLOCATE],
        &[&assign_tokens::ASSIGN_TOKENS],
        &[&attention::ATTENTION],
        &[
            &attention_score::LOGITS,
            &attention_score::STORED_SUMS,
            &attention_score::ROW_SUMS,
            &attention_score::COLUMNS,
            &attention_score::KEPT_COLUMNS,
            &attention_score::SCORE,
        ],
        &[&bipartite_match::BIPARTITE_MATCH],
        &[&compact::TALLY, &compact::COMPACT, &compact::SHORT_ROWS],
        &[&concat_rows::CONCAT],
        &[&convolution::CONVOLUTION],
        &[&copy::COPY],
        &[&deformable_sample::DEFORMABLE_SAMPLE],
        &[&elementwise::ELEMENTWISE],
        &[&density_peaks::DENSITY, &density_peaks::ROWS, &density_peaks::PEAKS],
        &[&frame_budget::FRAME_BUDGET],
        &[&gather_rows::GATHER, &gather_rows::FALLBACK],
        &[&gaussian_similarity::GAUSSIAN_SIMILARITY],
        &[&greedy_select::START, &greedy_select::SELECT],
        &[&group_tokens::GROUP_TOKENS, &group_tokens::SHORT_ROWS],
        &[&grow_runs::GROW_RUNS],
        &[&invert_index::FILL, &invert_index::PLACE],
        &[&layer_norm::LAYER_NORM],
        &[&linear::LINEAR],
        &[&log_size::LOG_SIZE],
        &[&lookup::LOOKUP],
        &[&merge_attention::MERGE_ATTENTION],
        &[&merge_tokens::MERGE_TOKENS],
        &[&min_max::MIN_MAX],
        &[&pair_similarity::PAIR_SIMILARITY],
        &[&neighbours::NEIGHBOURS],
        &[&pixel_unshuffle::MOVE, &pixel_unshuffle::TRANSPOSE],
        &[&pool::POOL],
        &[&quantile::QUANTILE],
        &[&pooled_attention::SUMS, &pooled_attention::POOLED_ATTENTION],
        &[&previous_equal::PREVIOUS_EQUAL],
        &[&reduce::REDUCE],
        &[&row_normalize::ROW_NORMALIZE],
        &[&run_segments::RUN_SEGMENTS],
        &[&threshold::THRESHOLD],
        &[
            &top_k::COUNT,
            &top_k::SELECT,
            &top_k::ROW,
            &top_k::KEY,
            &top_k::RADIX,
            &top_k::EMIT,
            &top_k::SORT,
            &top_k::MERGE,
            &top_k::FINISH,
        ],
        &[&unfold::UNFOLD],
    ];
    groups.concat()
}
