//! LagKV's score.

use crate::error::Error;
use crate::graph::{Graph, Tensor};
use crate::kernels::{
    Elementwise, Operation, Order, Statistic, TopK, TopKInputs, add, convert, gather_rows, keep_live, multiply, reduce, scaled_deviation,
};
use crate::methods::cache::Cache;
use crate::methods::cache::expected::softmax;
use crate::methods::cache::state::Rows;
use crate::methods::parts::lists::{product, rows_of};
use crate::options;
use crate::pattern::{Pattern, Piece};
use crate::tensor::{Desc, Elem, HostTensor, NONE};
use crate::token_map::{capped, count_by_length, plus_one};

/// How much keys and values stand out of the ranges of the tokens that come next.
///
/// ```text
/// tokens after the sinks in parts of `lag`; for the tokens of part p and each channel c: the least and the largest number of part p + 1
/// d[j] = softmax over the part of the deviation of (x[j, c] - least[c]) / (largest[c] - least[c]) over the channels
/// score[j] = the ascending rank within the part of (d of the keys + d of the values) / 2, over lag        or, if `across`, that mean itself
/// ```
///
/// Liang et al., "LagKV: Lag-Relative Information of the KV Cache Tells Which Tokens Are Important" (2025), as kvpress's `LagKVPress`. It asks
/// no query. Sinks, the last whole part and what follows it score 1. A head with fewer than `sinks + 2 lag` tokens keeps the latest: its
/// tokens after the sinks score their place among them, as a share. A budget below what scores 1 keeps the earliest of it: take a `lag` that is small beside
/// the budget.
///
/// - Equal scores of a part rank in descending place, so that the earlier stays. A token with a NaN or an infinity ranks lowest in its part, but
///   infinities of the next part make the whole part rank by place.
/// - A channel without a range in the next part, where the published code divides by zero, counts as 0.
/// - A dead token scores 0.
///
/// Cost: for keys and values each two copies, two reductions and one reading ([`scaled_deviation`]); then about ten small dispatches over
/// scores and a selection for the ranks.
///
/// ```
/// use tokenpress::methods::{Cache, LagKV};
/// use tokenpress::{Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// let x = graph.constant(HostTensor::f32([1, 1, 5, 2], vec![0.0, 0.0, 9.0, 0.0, 1.0, 1.0, 0.0, 0.0, 1.0, 1.0]));
/// let cache = Cache::new(&mut graph, x, x)?;
/// let scores = LagKV { sinks: 1, lag: 2, across: false }.build(&mut graph, &cache)?;
/// graph.output("scores", scores)?;
/// // One part is scored: its first token stands out.
/// assert_eq!(graph.run_reference(&[].into())?["scores"].floats(), [1.0, 0.5, 0.0, 1.0, 1.0]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LagKV {
    /// Tokens at the start that are not scored; keep them with [`AlwaysKept::sinks`](super::AlwaysKept::sinks).
    pub sinks: u32,
    /// Tokens of a part, at least 1.
    pub lag: u32,
    /// Whether parts compete by their scores, and not each by its ranks: kvpress's `cross_scoring`.
    pub across: bool,
}

/// kvpress's.
impl Default for LagKV {
    fn default() -> Self {
        Self { sinks: 4, lag: 128, across: false }
    }
}

impl LagKV {
    /// The scores, f32 `[B, Hkv, N]`.
    ///
    /// # Errors
    /// [`Error::Value`] for a lag of 0 and a value that is no float, and those of [`Cache`].
    pub fn build(&self, graph: &mut Graph, cache: &Cache) -> Result<Tensor, Error> {
        let rows = cache.rows(graph)?;
        let Rows { rows: count, tokens, lengths, .. } = rows;
        let &Self { sinks, lag, .. } = self;
        options::within("lagkv: lag", 1..=1 << 24, lag)?;
        // Parts that have another one behind them.
        let parts = |live: u32| (live.saturating_sub(sinks) / lag).saturating_sub(1);
        let is_short = |live: u32| parts(live) == 0;

        let others = self.of_short(graph, &rows, is_short)?;
        let scored = parts(tokens);
        let scores = if scored == 0 {
            others
        } else {
            let values = graph.reshape(cache.values, [count, tokens, cache.values.shape().dims()[3]])?;
            let [of_keys, of_values] = [rows.keys, values].map(|x| self.deviations(graph, x, scored));
            let half = Elementwise { operation: Operation::Multiply, scale: 0.5, ..Elementwise::default() };
            let sum = add(graph, of_keys?, of_values?)?;
            let one = graph.constant(HostTensor::f32([1], vec![1.0]));
            let mean = half.build(graph, sum, one)?;
            let ranked = if self.across { mean } else { ranks(graph, mean)? };
            let ranked = graph.reshape(ranked, [count, scored * lag])?;
            // Which of them are alive; all others are as in a short row, or 1.
            let end = |live: u32| if is_short(live) { 0 } else { sinks + parts(live) * lag };
            let (end, _) = count_by_length(graph, lengths, tokens, end)?;
            let own = Piece { end: u32::MAX, first: 0, step: 1 };
            let own = Pattern::Pieces([Piece { end: sinks, first: NONE, step: 0 }, own, own]);
            let own = graph.pattern(Desc::new([count, tokens], Elem::U32), own);
            let own = keep_live(graph, own, end)?;
            gather_rows(graph, ranked, own, Some(others))?
        };
        let scores = keep_live(graph, scores, lengths)?;
        rows.by_head(graph, scores)
    }

    /// 1 for sinks and for all tokens of a long row; for the others of a short one their place after the sinks, as a share.
    fn of_short(&self, graph: &mut Graph, rows: &Rows, is_short: impl Fn(u32) -> bool) -> Result<Tensor, Error> {
        let &Rows { rows: count, tokens, lengths, .. } = rows;
        let sinks = self.sinks.min(tokens);
        let places = Piece { end: u32::MAX, first: 0, step: 1 };
        let places = Pattern::Pieces([Piece { end: sinks, first: 0, step: 0 }, places, places]);
        let places = graph.pattern(Desc::new([count, tokens], Elem::U32), places);
        let places = convert(graph, places, Elem::F32)?;
        // A step of the share, and where it begins, by length.
        let entries = plus_one("lagkv: cache", tokens)?;
        let lengths = capped(graph, lengths, tokens)?;
        let index = graph.reshape(lengths, [1, count])?;
        let mut by_length = |of: &dyn Fn(u32) -> f32| {
            let table = graph.constant(HostTensor::f32([1, entries], (0..=tokens).map(of).collect()));
            let found = gather_rows(graph, table, index, None)?;
            graph.reshape(found, [count, 1])
        };
        let step = by_length(&|live| if is_short(live) { 1.0 / live.saturating_sub(sinks).max(1) as f32 } else { 0.0 })?;
        let start = by_length(&|live| if is_short(live) { 0.0 } else { 1.0 })?;
        let shares = multiply(graph, places, step)?;
        let shares = add(graph, shares, start)?;
        if sinks == 0 {
            return Ok(shares);
        }
        let ones = graph.filled_f32([count, tokens], 1.0);
        let own = Piece { end: u32::MAX, first: sinks, step: 1 };
        let own = Pattern::Pieces([Piece { end: sinks, first: NONE, step: 0 }, own, own]);
        let own = graph.pattern(Desc::new([count, tokens], Elem::U32), own);
        gather_rows(graph, shares, own, Some(ones))
    }

    /// The softmax within each part of how its tokens stand out of the next part, `[rows * parts, lag]`.
    fn deviations(&self, graph: &mut Graph, x: Tensor, parts: u32) -> Result<Tensor, Error> {
        let [rows, _, channels] = x.shape().exactly("lagkv: x", "[rows, tokens, channels]")?;
        let &Self { sinks, lag, .. } = self;
        let sets = product("lagkv: cache", x.shape(), rows, parts)?;
        let scored = rows_of(graph, x, sinks..sinks + parts * lag)?;
        let next = rows_of(graph, x, sinks + lag..sinks + (parts + 1) * lag)?;
        let [scored, next] = [scored, next].map(|x| graph.reshape(x, [sets, lag, channels]));
        let next = next?;
        let low = reduce(graph, next, 1, Statistic::Min, None)?;
        let high = reduce(graph, next, 1, Statistic::Max, None)?;
        let deviation = scaled_deviation(graph, scored?, low, high)?;
        softmax(graph, deviation, None)
    }
}

/// Of each row the ascending rank of every number, over their count: 0, 1 / N .. (N - 1) / N.
fn ranks(graph: &mut Graph, scores: Tensor) -> Result<Tensor, Error> {
    let [rows, count] = scores.shape().exactly("lagkv: scores", "[rows, lag]")?;
    let places = TopK { k: count, order: Order::Value, ..TopK::default() }.build(graph, TopKInputs::new(scores))?.places;
    let all = product("lagkv: scores", scores.shape(), rows, count)?;
    let table = (0..count).rev().map(|rank| rank as f32 / count as f32).collect();
    let table = graph.constant(HostTensor::f32([1, count], table));
    let index = graph.reshape(places, [1, all])?;
    let found = gather_rows(graph, table, index, None)?;
    graph.reshape(found, [rows, count])
}
