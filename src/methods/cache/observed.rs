//! The attention that keys have received: H2O's and TOVA's scores.

use crate::checks::expect;
use crate::error::Error;
use crate::graph::{Graph, Tensor};
use crate::kernels::{AttentionInputs, AttentionScore, HeadReduction, Queries, RowReduction, Statistic, add, reduce};
use crate::methods::cache::Cache;
use crate::methods::cache::snapkv::group_statistic;
use crate::methods::cache::state::{Rows, to_heads};

/// The attention of all queries so far.
///
/// ```text
/// a[g, i, j] = softmax_j(scale queries[g, i] . keys[j])        causal
/// H2O:        score[j] = group_g sum_i a[g, i, j]
/// observed:   score[j] = group_g sum_i a[g, i, j] / number of queries that see key j
/// ```
///
/// Zhang et al., "H2O: Heavy-Hitter Oracle for Efficient Generative Inference of Large Language Models" (NeurIPS 2023), whose sum favours
/// early tokens; kvpress's `ObservedAttentionPress` divides it. The two keep very different tokens.
///
/// H2O also keeps the latest tokens ([`AlwaysKept::recent`](super::AlwaysKept::recent)), and adds up while it decodes:
/// [`ObservedAttention::accumulate`]. The published code sums over the batch and only masks what it evicts; here each row of a batch is
/// alone, and what is evicted is gone.
///
/// A NaN among the logits that a query sees makes the scores of its head NaN. A dead token scores 0. Cost: that of
/// [`AttentionScore`] for all rows, `4 M N D` operations a query head; the matrix M x N is not in memory.
///
/// ```
/// use tokenpress::methods::{Cache, ObservedAttention};
/// use tokenpress::{Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// let x = graph.constant(HostTensor::f32([1, 1, 2, 1], vec![0.0; 2]));
/// let cache = Cache::new(&mut graph, x, x)?;
/// // The first query sees one key, the second two.
/// let h2o = ObservedAttention::H2O.build(&mut graph, &cache, x, None)?;
/// let observed = ObservedAttention::KVPRESS.build(&mut graph, &cache, x, None)?;
/// graph.output("h2o", h2o)?;
/// graph.output("observed", observed)?;
/// let out = graph.run_reference(&[].into())?;
/// assert_eq!(out["h2o"].floats(), [1.5, 0.5]);
/// assert_eq!(out["observed"].floats(), [0.75, 0.5]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[doc(alias("H2O", "heavy_hitter"))]
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ObservedAttention {
    /// [`RowReduction::Sum`], or [`RowReduction::MeanVisible`]: divided by the number of queries that see the key.
    pub rows: RowReduction,
    /// Mean, sum or maximum over the query heads that read one key head.
    pub group: HeadReduction,
}

/// [`ObservedAttention::H2O`].
impl Default for ObservedAttention {
    fn default() -> Self {
        Self::H2O
    }
}

impl ObservedAttention {
    /// The sum, mean over a group.
    pub const H2O: Self = Self { rows: RowReduction::Sum, group: HeadReduction::Mean };

    /// kvpress's `ObservedAttentionPress`.
    pub const KVPRESS: Self = Self { rows: RowReduction::MeanVisible, ..Self::H2O };

    /// The scores, f32 `[B, Hkv, N]`. `queries` `[B, H, M, D]` are those of the last M tokens, with their rotary embedding, of the keys'
    /// element type; `query_lengths`, u32 `[B]`, are how many of them are live. For `None` as many are as keys, if M is N, and else all.
    ///
    /// # Errors
    /// [`Error::Shape`] and [`Error::Elem`] for other tensors, [`Error::Value`] for reductions other than above and for more queries than
    /// keys.
    pub fn build(&self, graph: &mut Graph, cache: &Cache, queries: Tensor, query_lengths: Option<Tensor>) -> Result<Tensor, Error> {
        let rows = cache.rows(graph)?;
        if !matches!(self.rows, RowReduction::Sum | RowReduction::MeanVisible) {
            let expected = "a sum, or a mean over the rows that see the key".to_owned();
            return Err(Error::Value { argument: "observed attention: rows", expected, actual: format!("{:?}", self.rows) });
        }
        group_statistic("observed attention: group", self.group)?;
        let queries = rows.queries(graph, queries)?;
        let keys = rows.one_head(graph)?;
        let query_lengths = rows.query_lengths(graph, query_lengths)?;
        let attention =
            AttentionScore { queries: Queries::All, rows: self.rows, heads: self.group, causal: true, ..AttentionScore::default() };
        let inputs = AttentionInputs { lengths: Some(rows.lengths), query_lengths, ..AttentionInputs::new(queries, keys) };
        let score = attention.build(graph, inputs)?.score;
        rows.by_head(graph, score)
    }

    /// The scores of a step of decoding, added to those of the steps before: `accumulated` is f32 `[B, Hkv, N]`, 0 for the tokens that the
    /// step has added. After an eviction, [`Evicted::gather`](super::Evicted::gather) has the accumulated scores of what is left.
    pub fn accumulate(&self, graph: &mut Graph, cache: &Cache, queries: Tensor, accumulated: Tensor) -> Result<Tensor, Error> {
        let score = self.build(graph, cache, queries, None)?;
        expect("observed attention: accumulated", accumulated.desc(), score.desc())?;
        add(graph, score, accumulated)
    }
}

/// The attention of the last query, mean over all heads, f32 `[B, Hkv, N]`: the same for every key head of a batch row.
///
/// ```text
/// score[b, h, j] = mean over all query heads g of softmax_j(scale queries[b, g, last] . keys[b, j])
/// ```
///
/// Oren et al., "Transformers are Multi-State RNNs" (2024). `queries` is `[B, H, M, D]`, of which the last row counts. The authors evict after
/// every step, and may evict the last token; kvpress keeps it (`AlwaysKept { recent: 1, .. }`).
///
/// It is for heads that remember the same tokens, as they do if TOVA alone has evicted. A NaN logit makes the scores of its batch row
/// NaN. A dead token scores 0.
///
/// Cost: two dispatches of attention scores (three beyond 4096 keys), a mean over the heads, and a copy.
#[doc(alias("TOVA"))]
pub fn tova(graph: &mut Graph, cache: &Cache, queries: Tensor) -> Result<Tensor, Error> {
    let rows = cache.rows(graph)?;
    let Rows { heads, lengths, .. } = rows;
    let queries = rows.queries(graph, queries)?;
    let all = graph.filled([rows.rows], queries.shape().dims()[2]);
    let keys = rows.one_head(graph)?;
    let inputs = AttentionInputs { lengths: Some(lengths), query_lengths: Some(all), ..AttentionInputs::new(queries, keys) };
    let score = AttentionScore { queries: Queries::Last, ..AttentionScore::default() }.build(graph, inputs)?.score;
    let score = rows.by_head(graph, score)?;
    let score = reduce(graph, score, 1, Statistic::Mean, None)?;
    let score = to_heads(graph, score, heads)?;
    rows.by_head(graph, score)
}
