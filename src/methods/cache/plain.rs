//! Scores that ask no query.

use crate::checks::expect;
use crate::error::Error;
use crate::graph::{Graph, Tensor, expect_listed};
use crate::kernels::{
    AttentionInputs, AttentionScore, Elementwise, HeadReduction, Norm, Operation, Queries, RowReduction, Statistic, convert, gather_rows,
    reduce, row_normalize, scale,
};
use crate::methods::cache::Cache;
use crate::methods::cache::state::Rows;
use crate::methods::parts::lists::product;
use crate::random::random_u32;
use crate::tensor::{Desc, Elem, HostTensor};

/// Seeded noise, f32 `[B, Hkv, N]` in 0 to 1: what a score has to beat.
///
/// Token j of head h has a number of its own, the same in every batch row, so that a row of a batch is as if it were alone.
///
/// Cost: none but a copy of `Hkv N` numbers that the host makes.
pub fn random_scores(graph: &mut Graph, cache: &Cache, seed: u32) -> Result<Tensor, Error> {
    let rows = cache.rows(graph)?;
    let Rows { batch, heads, tokens, .. } = rows;
    let row = product("cache: keys", cache.keys.shape(), heads, tokens)?;
    expect_listed("random_scores: cache", [row].into())?;
    // 24 bits are a float's.
    let number = |h: u32, j: u32| (random_u32(seed, u64::from(h) << 32 | u64::from(j)) >> 8) as f32 / 16_777_216.0;
    let noise = (0..heads).flat_map(|h| (0..tokens).map(move |j| number(h, j))).collect();
    let noise = graph.constant(HostTensor::f32([1, 1, row], noise));
    let first = graph.filled([1, batch], 0);
    let all = gather_rows(graph, noise, first, None)?;
    graph.reshape(all, [batch, heads, tokens])
}

/// The place of each token in its head, f32 `[B, Hkv, N]`: the latest tokens stay. With sinks ([`AlwaysKept`](super::AlwaysKept)) this is
/// StreamingLLM.
///
/// Xiao et al., "Efficient Streaming Language Models with Attention Sinks" (ICLR 2024). The first `sinks` tokens of each head stay, and the
/// latest as far as the budget goes. The paper's model then gives tokens their places in the cache as positions:
/// [`Cache::compact_positions`]. kvpress leaves them as they were.
///
/// Places above 2^24 are rounded, so that neighbours may tie; then the earlier stays. Cost: one dispatch, one write of the result.
///
/// ```
/// use tokenpress::methods::{AlwaysKept, Cache, CacheBudget, Evict, recency};
/// use tokenpress::{Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// let keys = graph.constant(HostTensor::f32([1, 1, 6, 1], vec![0.0; 6]));
/// let cache = Cache::new(&mut graph, keys, keys)?;
/// let scores = recency(&mut graph, &cache)?;
/// let always = AlwaysKept { sinks: 1, ..AlwaysKept::NOTHING };
/// let kept = Evict { budget: CacheBudget::Tokens(3), always }.build(&mut graph, &cache, scores)?;
/// graph.output("positions", kept.cache.positions)?;
/// assert_eq!(graph.run_reference(&[].into())?["positions"].integers(), [0, 4, 5]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[doc(alias("StreamingLLM", "sliding_window"))]
pub fn recency(graph: &mut Graph, cache: &Cache) -> Result<Tensor, Error> {
    let Rows { batch, heads, tokens, .. } = cache.rows(graph)?;
    let places = graph.counted([batch, heads, tokens], 0, 1);
    convert(graph, places, Elem::F32)
}

/// The negative norm of each key, f32 `[B, Hkv, N]`: large keys go first.
///
/// ```text
/// score[b, h, j] = - |keys[b, h, j]|
/// ```
///
/// Devoto et al., "A Simple and Effective L2 Norm-Based Strategy for KV Cache Compression" (EMNLP 2024); kvpress's `KnormPress`. A rotary
/// embedding leaves norms as they are.
///
/// A key with a NaN or an infinity scores NaN, and goes before all others. A dead token scores 0. Cost: two dispatches, one read of the
/// keys.
#[doc(alias("Knorm", "l2_norm"))]
pub fn key_norm(graph: &mut Graph, cache: &Cache) -> Result<Tensor, Error> {
    let rows = cache.rows(graph)?;
    let norm = row_normalize(graph, rows.keys, Some(rows.lengths))?.norm;
    let scores = scale(graph, norm, -1.0)?;
    rows.by_head(graph, scores)
}

/// How little each key points where all do, f32 `[B, Hkv, N]`.
///
/// ```text
/// score[b, h, j] = - cos(keys[b, h, j], mean_i keys[b, h, i] / |keys[b, h, i]|)
/// ```
///
/// Park et al., "KeyDiff: Key Similarity-Based KV Cache Eviction" (2025); kvpress's `KeyDiffPress`. The mean is over the head's live
/// tokens. The paper scores blocks of a long prompt one after another; evict after each block for that.
///
/// A zero key scores 0. A key with a NaN or an infinity counts as zero in the mean, scores NaN, and goes before all others. A dead token
/// scores 0. Cost: six dispatches; two reads of the keys, two of their unit vectors, which are in the workspace.
#[doc(alias("KeyDiff"))]
pub fn key_diff(graph: &mut Graph, cache: &Cache) -> Result<Tensor, Error> {
    let rows = cache.rows(graph)?;
    let Rows { rows: count, depth, lengths, .. } = rows;
    let normalized = row_normalize(graph, rows.keys, Some(lengths))?;
    let mean = reduce(graph, normalized.unit, 1, Statistic::Mean, Some(lengths))?;
    let mean = graph.reshape(mean, [count, 1, depth])?;
    let anchor = row_normalize(graph, mean, None)?.unit;
    let cosine = products(graph, &rows, anchor, normalized.unit)?;
    let scores = scale(graph, cosine, -1.0)?;
    // Adds nothing, but for a NaN: its key has no direction.
    let scores = Elementwise { operation: Operation::Add, scale: 0.0, ..Elementwise::default() }.build(graph, scores, normalized.norm)?;
    rows.by_head(graph, scores)
}

/// How little each key points where the queries of a model do, f32 `[B, Hkv, N]`.
///
/// ```text
/// score[b, h, j] = - <filters[h], keys[b, h, j]>
/// ```
///
/// Godey et al., "Q-Filters: Leveraging QK Geometry for Efficient KV Cache Compression" (2025); kvpress's `QFilterPress`. The filters `[Hkv, D]`
/// are the main direction of the layer's queries for each key head, found once for a model, with the sign that most queries have on the
/// far side: the published files have it. They are of the keys' element type.
///
/// A NaN or an infinity in a key may make its score NaN, and it then goes before all others. A dead token scores 0. Cost: two or three
/// dispatches, one read of the keys.
///
/// ```
/// use tokenpress::methods::{Cache, q_filter};
/// use tokenpress::{Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// let keys = graph.constant(HostTensor::f32([1, 1, 2, 2], vec![3.0, 1.0, -2.0, 1.0]));
/// let cache = Cache::new(&mut graph, keys, keys)?;
/// let filters = graph.constant(HostTensor::f32([1, 2], vec![1.0, 0.0]));
/// let scores = q_filter(&mut graph, &cache, filters)?;
/// graph.output("score", scores)?;
/// assert_eq!(graph.run_reference(&[].into())?["score"].floats(), [-3.0, 2.0]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
///
/// # Errors
/// [`Error::Shape`] and [`Error::Elem`] for other filters.
#[doc(alias("QFilter", "q_filters"))]
pub fn q_filter(graph: &mut Graph, cache: &Cache, filters: Tensor) -> Result<Tensor, Error> {
    let rows = cache.rows(graph)?;
    let Rows { batch, heads, rows: count, depth, .. } = rows;
    expect("q_filter: filters", filters.desc(), Desc::new([heads, depth], rows.keys.elem()))?;
    let filters = graph.reshape(filters, [1, heads, depth])?;
    let of_heads = graph.listed("q_filter: cache", [1, count], || (0..batch).flat_map(|_| 0..heads).collect())?;
    let filters = gather_rows(graph, filters, of_heads, None)?;
    let scores = products(graph, &rows, filters, rows.keys)?;
    let scores = scale(graph, scores, -1.0)?;
    rows.by_head(graph, scores)
}

/// The product of one vector of each head, `[rows, D]` in any shape, with each of its `keys` `[rows, N, D]`.
pub(super) fn products(graph: &mut Graph, rows: &Rows, vectors: Tensor, keys: Tensor) -> Result<Tensor, Error> {
    let queries = graph.reshape(vectors, [rows.rows, 1, 1, rows.depth])?;
    let keys = graph.reshape(keys, [rows.rows, 1, rows.tokens, rows.depth])?;
    let logits = AttentionScore {
        queries: Queries::Row(0),
        norm: Norm::Logits,
        rows: RowReduction::Sum,
        heads: HeadReduction::Sum,
        ..AttentionScore::default()
    };
    let inputs = AttentionInputs { lengths: Some(rows.lengths), ..AttentionInputs::new(queries, keys) };
    Ok(logits.build(graph, inputs)?.score)
}
