//! SnapKV's score.

use crate::error::Error;
use crate::graph::{Graph, Tensor};
use crate::kernels::{
    AttentionInputs, AttentionScore, HeadReduction, PaddedWindows, Pool, Queries, RowReduction, Statistic, Windows, reduce,
};
use crate::methods::cache::Cache;
use crate::methods::cache::state::{Rows, to_heads};
use crate::methods::parts::lists::product;
use crate::options;
use crate::token_map::count_by_length;

/// What becomes of neighbouring scores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Smoothing {
    /// Each score is the average of the window around it; what lies beyond the scored tokens counts as 0.
    Average,
    /// Each is the largest of the window around it.
    Maximum,
}

/// The attention of the last queries, smoothed along the tokens.
///
/// ```text
/// a[g, j] = rows_i softmax_j(scale queries[g, i] . keys[j])        i among the last queries, causal, over all live keys
/// score[j] = group_g smooth_j(a[g, j])     or     smooth_j(group_g a[g, j])        j before the last `window` tokens
/// ```
///
/// Li et al., "SnapKV: LLM Knows What You are Looking for Before Generation" (NeurIPS 2024). The codes in use differ, so that all of it is
/// an option:
///
/// | code | window | smoothing | rows | group |
/// |---|---|---|---|---|
/// | the authors' ([`SnapKV::AUTHORS`]) | 32 | average of 5 | sum | one query head for each key head |
/// | KVCache-Factory's and AdaKV's for grouped heads | 32 | average of 5, maximum of 7 | sum, mean | mean or maximum, before smoothing |
/// | kvpress ([`SnapKV::KVPRESS`]) | 64 | average of 5 | mean | mean, after smoothing |
/// | TensorRT-LLM (RocketKV) | 32 | maximum of 63 | sum | sum, before smoothing |
///
/// Tokens of the window score 0: keep them with [`AlwaysKept::recent`](super::AlwaysKept::recent), whose default is 32. Nothing of the
/// window is smoothed into the tokens before it, in ragged rows neither.
///
/// - A head of no more tokens than the window scores 0 throughout.
/// - A NaN among the logits that a query sees makes the scores of its head NaN; a maximum over the tokens skips it.
///
/// Cost: two or three dispatches of attention scores, `2 W N D` operations a query head (twice that for more than 16 queries), one pooling
/// of the scores, and a reduction over the group if that comes after it. Neither matrix W x N nor copies of the keys for each query
/// head are made.
///
/// ```
/// use tokenpress::methods::{Cache, SnapKV};
/// use tokenpress::{Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// let keys = graph.constant(HostTensor::f32([1, 1, 4, 1], vec![0.0; 4]));
/// let queries = graph.constant(HostTensor::f32([1, 1, 1, 1], vec![1.0]));
/// let cache = Cache::new(&mut graph, keys, keys)?;
/// // One query, which sees four equal keys; a third of the neighbours' sum.
/// let snap = SnapKV { window: 1, kernel: 3, ..SnapKV::KVPRESS }.build(&mut graph, &cache, queries)?;
/// graph.output("score", snap)?;
/// let score = graph.run_reference(&[].into())?["score"].floats();
/// assert_eq!(score, [1.0 / 6.0, 0.25, 1.0 / 6.0, 0.0]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[doc(alias("observation_window"))]
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SnapKV {
    /// Tokens at the end that are not scored.
    pub window: u32,
    /// Width of the smoothing, odd; 1 for none.
    pub kernel: u32,
    /// Average or maximum.
    pub smoothing: Smoothing,
    /// [`RowReduction::Sum`] or [`RowReduction::Mean`] over the queries.
    pub rows: RowReduction,
    /// Mean, sum or maximum over the query heads that read one key head.
    pub group: HeadReduction,
    /// Whether the group becomes one before the smoothing. For averages and means that is the same but for rounding.
    pub group_first: bool,
}

/// [`SnapKV::AUTHORS`].
impl Default for SnapKV {
    fn default() -> Self {
        Self::AUTHORS
    }
}

impl SnapKV {
    /// The authors' configuration, with KVCache-Factory's mean over grouped heads.
    pub const AUTHORS: Self = Self {
        window: 32,
        kernel: 5,
        smoothing: Smoothing::Average,
        rows: RowReduction::Sum,
        group: HeadReduction::Mean,
        group_first: true,
    };

    /// kvpress's `SnapKVPress`.
    pub const KVPRESS: Self = Self { window: 64, rows: RowReduction::Mean, group_first: false, ..Self::AUTHORS };

    /// The scores, f32 `[B, Hkv, N]`. `queries` `[B, H, M, D]` are the last ones, with their rotary embedding, of the keys' element type:
    /// query i sees the live keys up to its own, which is the M - i th from the end. M is the window as a rule, and at most N.
    ///
    /// # Errors
    /// [`Error::Shape`] and [`Error::Elem`] for other tensors, [`Error::Value`] for an even kernel and for reductions other than above.
    pub fn build(&self, graph: &mut Graph, cache: &Cache, queries: Tensor) -> Result<Tensor, Error> {
        let rows = cache.rows(graph)?;
        let Rows { rows: count, tokens, lengths, .. } = rows;
        if !matches!(self.rows, RowReduction::Sum | RowReduction::Mean) {
            let expected = "a sum or a mean".to_owned();
            return Err(Error::Value { argument: "snapkv: rows", expected, actual: format!("{:?}", self.rows) });
        }
        let statistic = group_statistic("snapkv: group", self.group)?;
        let queries = rows.queries(graph, queries)?;
        let group = queries.shape().dims()[1];
        // As many query rows as keys are all live even so: they are the last ones.
        let all = graph.filled([count], queries.shape().dims()[2]);
        let before = !self.group_first && group > 1;
        let attention = AttentionScore {
            queries: Queries::All,
            rows: self.rows,
            heads: if before { HeadReduction::None } else { self.group },
            causal: true,
            ..AttentionScore::default()
        };
        let keys = rows.one_head(graph)?;
        let inputs = AttentionInputs { lengths: Some(lengths), query_lengths: Some(all), ..AttentionInputs::new(queries, keys) };
        let score = attention.build(graph, inputs)?.score;

        let (scored, _) = count_by_length(graph, lengths, tokens, |live| live.saturating_sub(self.window))?;
        if !before {
            let score = self.smoothing.over(graph, "snapkv: kernel", score, scored, self.kernel)?;
            return rows.by_head(graph, score);
        }
        let each = product("snapkv: queries", queries.shape(), count, group)?;
        let score = graph.reshape(score, [each, tokens])?;
        let scored = to_heads(graph, scored, group)?;
        let score = self.smoothing.over(graph, "snapkv: kernel", score, scored, self.kernel)?;
        let score = graph.reshape(score, [count, group, tokens])?;
        let score = reduce(graph, score, 1, statistic, None)?;
        rows.by_head(graph, score)
    }
}

impl Smoothing {
    /// The first `scored[row]` scores of `[rows, tokens]`, each with its neighbours among them, and 0 after them.
    pub(super) fn over(
        self,
        graph: &mut Graph,
        argument: &'static str,
        score: Tensor,
        scored: Tensor,
        kernel: u32,
    ) -> Result<Tensor, Error> {
        let [rows, tokens] = score.shape().exactly("smoothing: score", "[rows, tokens]")?;
        options::within(argument, 1..=(1 << 24) - 1, kernel)?;
        if kernel.is_multiple_of(2) {
            return Err(Error::Value { argument, expected: "an odd width".to_owned(), actual: kernel.to_string() });
        }
        let reach = kernel / 2;
        let windows = PaddedWindows { before: [0, reach], after: [0, reach], count_padding: true, ..PaddedWindows::sequence(kernel, 1) };
        let windows = Windows::Padded(windows);
        let pool = match self {
            Self::Average => Pool::Average(windows),
            Self::Maximum => Pool::Max(windows),
        };
        let score = graph.reshape(score, [rows, tokens, 1])?;
        let smooth = pool.build(graph, score, [1, tokens], Some(scored))?;
        graph.reshape(smooth, [rows, tokens])
    }
}

/// How query heads of a group become one, in a reduction of its own.
pub(super) fn group_statistic(argument: &'static str, group: HeadReduction) -> Result<Statistic, Error> {
    match group {
        HeadReduction::Mean => Ok(Statistic::Mean),
        HeadReduction::Sum => Ok(Statistic::Sum),
        HeadReduction::Max => Ok(Statistic::Max),
        HeadReduction::One(_) | HeadReduction::None => {
            Err(Error::Value { argument, expected: "a mean, a sum or a maximum".to_owned(), actual: format!("{group:?}") })
        }
    }
}
