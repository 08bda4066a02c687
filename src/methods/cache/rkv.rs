//! R-KV's score.

use crate::error::Error;
use crate::graph::{Graph, Tensor};
use crate::kernels::{
    AttentionInputs, AttentionScore, Elementwise, HeadReduction, NearPairs, Norm, Queries, Reduce, RowReduction, Statistic, group_tokens,
    keep_live, merge_tokens, multiply, pair_similarity, reduce, row_normalize, scale,
};
use crate::methods::cache::expected::softmax;
use crate::methods::cache::plain::products;
use crate::methods::cache::state::{Rows, to_heads};
use crate::methods::cache::{Cache, Smoothing};
use crate::methods::parts::lists::{product, reciprocal};
use crate::options;
use crate::token_map::count_by_length;

/// How much the last queries attend to each token, less what other tokens say already.
///
/// ```text
/// logit[i, j]   = max over the query heads of the group of queries[i] . keys[j] / sqrt(D)
/// a[j]          = maximum over `kernel` neighbours of mean_i softmax_j(logit[i]),     j before the window, and so are the neighbours
/// cosine[i, j]  = cos(keys[i], keys[j]) of all live tokens; 0 for i = j, and for the last j of each i that is above `similarity`
/// u[j]          = softmax_j(mean_i cosine[i, j]) over all live tokens
/// score[j]      = importance a[j] - (1 - importance) u[j]
/// ```
///
/// Cai et al., "R-KV: Redundancy-aware KV Cache Compression for Reasoning Models" (2025). Of tokens that resemble each other the last is not
/// punished for it. Tokens of the window score 0: keep them with [`AlwaysKept::recent`](super::AlwaysKept::recent). The published code
/// evicts at every 128th length; a plan of a step evicts when the cache is full ([`Cache::append`]).
///
/// The published code takes the redundancy of batch row 0 for all rows, and where a token is above `similarity` to no other, it sets the
/// cosine to the first token to 0. Here each row has its own, and no cosine is lost.
///
/// - A head of no more tokens than the window scores 0 throughout.
/// - A key with a NaN or an infinity makes the scores of its head NaN.
///
/// Cost: `2 W N D` operations a query head and `2 N^2 D` a key head; a workspace of `4 W N + N^2 / 8` bytes a head. It is for caches that a
/// budget keeps small.
///
/// ```
/// use tokenpress::methods::{Cache, RKV};
/// use tokenpress::{Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// // Two equal keys, another one, and the window.
/// let keys = graph.constant(HostTensor::f32([1, 1, 4, 2], vec![1.0, 0.0, 1.0, 0.0, 0.0, 1.0, 0.0, -1.0]));
/// let queries = graph.constant(HostTensor::f32([1, 1, 1, 2], vec![0.0; 2]));
/// let cache = Cache::new(&mut graph, keys, keys)?;
/// let scores = RKV { window: 1, kernel: 1, ..RKV::default() }.build(&mut graph, &cache, queries)?;
/// graph.output("scores", scores)?;
/// let scores = graph.run_reference(&[].into())?["scores"].floats();
/// // Each is the other's last: neither is punished for it.
/// assert!(scores[0] == scores[1] && scores[2] > scores[1] && scores[3] == 0.0);
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[doc(alias("R-KV", "redundancy"))]
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RKV {
    /// Tokens at the end that are not scored.
    pub window: u32,
    /// Width of the maximum along the tokens, odd; 1 for none.
    pub kernel: u32,
    /// Share of the importance, 0 to 1; the rest is the redundancy's.
    pub importance: f64,
    /// The cosine above which a token repeats another.
    pub similarity: f32,
}

/// The published code's.
impl Default for RKV {
    fn default() -> Self {
        Self { window: 8, kernel: 7, importance: 0.07, similarity: 0.5 }
    }
}

impl RKV {
    /// The scores, f32 `[B, Hkv, N]`. `queries` `[B, H, M, D]` are the last ones, with their rotary embedding, of the keys' element type; M
    /// is the window as a rule.
    ///
    /// # Errors
    /// [`Error::Shape`] and [`Error::Elem`] for other tensors, [`Error::Value`] for an even kernel, a share outside of 0 to 1 and a similarity
    /// that is NaN.
    pub fn build(&self, graph: &mut Graph, cache: &Cache, queries: Tensor) -> Result<Tensor, Error> {
        let rows = cache.rows(graph)?;
        options::share("r_kv: importance", self.importance)?;
        options::threshold("r_kv: similarity", self.similarity)?;
        let (past, _) = count_by_length(graph, rows.lengths, rows.tokens, |live| live.saturating_sub(self.window))?;
        let attended = self.attended(graph, &rows, queries, past)?;
        let repeated = self.repeated(graph, &rows)?;
        let attended = scale(graph, attended, self.importance as f32)?;
        let less = Elementwise { scale: (self.importance - 1.0) as f32, ..Elementwise::default() };
        let scores = less.build(graph, attended, repeated)?;
        let scores = keep_live(graph, scores, past)?;
        rows.by_head(graph, scores)
    }

    /// `a` of the tokens before the window, `[rows, tokens]`.
    fn attended(&self, graph: &mut Graph, rows: &Rows, queries: Tensor, past: Tensor) -> Result<Tensor, Error> {
        let &Rows { rows: count, tokens, .. } = rows;
        let queries = rows.queries(graph, queries)?;
        let asked = queries.shape().dims()[2];
        let each = product("cache: queries", queries.shape(), count, asked)?;
        let logits = AttentionScore {
            queries: Queries::All,
            norm: Norm::ScaledLogits,
            rows: RowReduction::None,
            heads: HeadReduction::Max,
            ..AttentionScore::default()
        };
        let keys = rows.one_head(graph)?;
        let all = graph.filled([count], asked);
        let inputs = AttentionInputs { lengths: Some(past), query_lengths: Some(all), ..AttentionInputs::new(queries, keys) };
        let logits = logits.build(graph, inputs)?.score;
        let logits = graph.reshape(logits, [each, tokens])?;
        let of_each = to_heads(graph, past, asked)?;
        let shares = softmax(graph, logits, Some(of_each))?;
        let shares = graph.reshape(shares, [count, asked, tokens])?;
        let mean = reduce(graph, shares, 1, Statistic::Mean, None)?;
        Smoothing::Maximum.over(graph, "r_kv: kernel", mean, past, self.kernel)
    }

    /// `u` of all live tokens, `[rows, tokens]`.
    fn repeated(&self, graph: &mut Graph, rows: &Rows) -> Result<Tensor, Error> {
        let &Rows { rows: count, tokens, lengths, .. } = rows;
        let keys = row_normalize(graph, rows.keys, Some(lengths))?;
        let near = NearPairs { threshold: self.similarity, or_equal: false }.build(graph, keys, Some(lengths))?;
        let sum = reduce(graph, keys.unit, 1, Statistic::Sum, Some(lengths))?;
        let of_all = products(graph, rows, sum, keys.unit)?;
        let places = graph.counted([count, tokens], 0, 1);
        let own = pair_similarity(graph, keys, places, Some(lengths))?;
        // What each token gives to the last one that it repeats.
        let given = pair_similarity(graph, keys, near.last, Some(lengths))?;
        let groups = group_tokens(graph, near.last, tokens)?;
        let spared = merge_tokens(graph, given, groups, None, Reduce::Sum)?;

        let without = Elementwise { scale: -1.0, ..Elementwise::default() };
        let others = without.build(graph, of_all, own)?;
        let others = without.build(graph, others, spared)?;
        let share = reciprocal(graph, lengths, tokens)?;
        let mean = multiply(graph, others, share)?;
        softmax(graph, mean, Some(lengths))
    }
}
