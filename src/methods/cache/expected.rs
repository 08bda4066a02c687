//! The attention that keys are to expect.

use crate::checks::expect;
use crate::error::Error;
use crate::graph::{Graph, Tensor};
use crate::kernels::{
    AttentionInputs, AttentionScore, Elementwise, HeadReduction, Norm, Operation, Queries, Rope, RowReduction, Statistic, Window, add,
    convert, gather_rows, keep_live, multiply, reduce, row_normalize,
};
use crate::methods::cache::Cache;
use crate::methods::cache::state::{Rows, to_heads};
use crate::methods::parts::lists::{product, reciprocal, rows_of};
use crate::options;
use crate::pattern::{Pattern, Piece};
use crate::tensor::{Desc, Elem, HostTensor, NONE};
use crate::token_map::count_by_length;

/// The attention that queries to come will pay, if they are distributed as those so far.
///
/// ```text
/// mu, Sigma:   mean and covariance of the queries before their rotary embedding, without the sinks', for each query head
/// R:           the mean of the rotations to the next `future` positions
/// z[j]     = (R mu) . keys[j] / sqrt(D) + keys[j]^T (R Sigma R^T) keys[j] / (2 D)
/// score[j] = (mean over the group of softmax_j z[j]  + epsilon) |values[j]|        without the sinks
/// ```
///
/// Devoto et al., "Expected Attention: KV Cache Compression by Estimating Attention from Future Queries Distribution" (2025), as kvpress's
/// `ExpectedAttentionPress`. z is the logarithm of the mean of `exp(q . k / sqrt D)` over a normal distribution of queries. Sinks score
/// `epsilon |values|`: keep them with [`AlwaysKept::sinks`](super::AlwaysKept::sinks).
///
/// The next query has the position of the head's number of live tokens: a fresh cache, or one at compact positions.
///
/// - A NaN among the logits makes the scores of its head NaN. A value with a NaN or an infinity scores NaN. A dead token scores 0.
///
/// Cost: about twenty dispatches, linear in the tokens: `2 n D^2` operations a query head for the covariance of n queries, and `2 N D^2` for its
/// quadratic form. The workspace holds `N D` floats for each query head; that is what `covariance: false` saves.
///
/// ```
/// use tokenpress::kernels::{Rope, RotaryPairs};
/// use tokenpress::methods::{Cache, ExpectedAttention};
/// use tokenpress::{Elem, Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// let [keys, values, queries] = ["keys", "values", "queries"].map(|name| graph.input(name, [1, 2, 16, 8], Elem::F32));
/// let cache = Cache::new(&mut graph, keys, values)?;
/// let expected = ExpectedAttention::new(Rope::new(10_000.0, 8, RotaryPairs::Half));
/// let scores = expected.build(&mut graph, &cache, queries, None)?;
/// assert_eq!(scores.shape().dims(), [1, 2, 16]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct ExpectedAttention {
    /// The rotary embedding of queries and keys.
    pub rope: Rope,
    /// Positions to come over which rotations are averaged, at least 1.
    pub future: u32,
    /// Tokens at the start that are left out.
    pub sinks: u32,
    /// Whether the covariance counts.
    pub covariance: bool,
    /// Whether the values' norms count.
    pub value_norms: bool,
    /// What every share of attention is raised by.
    pub epsilon: f32,
}

impl ExpectedAttention {
    /// kvpress's options: 512 positions to come, 4 sinks, covariance and norms, no epsilon.
    pub fn new(rope: Rope) -> Self {
        Self { rope, future: 512, sinks: 4, covariance: true, value_norms: true, epsilon: 0.0 }
    }

    /// The scores, f32 `[B, Hkv, N]`. `queries` `[B, H, M, D]` have no rotary embedding yet, and are of the keys' element type; `query_lengths`,
    /// u32 `[B]`, are how many of them are live, all for `None`. The first `sinks` of them are left out.
    ///
    /// # Errors
    /// [`Error::Shape`] and [`Error::Elem`] for other tensors, [`Error::Value`] for no positions to come and an epsilon that is not finite.
    pub fn build(&self, graph: &mut Graph, cache: &Cache, queries: Tensor, query_lengths: Option<Tensor>) -> Result<Tensor, Error> {
        let rows = cache.rows(graph)?;
        let Rows { rows: count, tokens, depth, lengths, .. } = rows;
        options::within("expected attention: future", 1..=1 << 20, self.future)?;
        options::finite("expected attention: epsilon", self.epsilon)?;
        let queries = rows.queries(graph, queries)?;
        let [_, group, given, _] = queries.shape().exactly("expected attention: queries", "[B * Hkv, G, M, D]")?;
        let each = product("expected attention: queries", queries.shape(), count, group)?;
        let live = match rows.query_lengths(graph, query_lengths)? {
            Some(live) => live,
            None => graph.filled([count], given),
        };
        expect("expected attention: query_lengths", live.desc(), Desc::new([count], Elem::U32))?;
        let (live, _) = count_by_length(graph, live, given, |live| live.saturating_sub(self.sinks))?;
        let live = to_heads(graph, live, group)?;
        let next = to_heads(graph, lengths, group)?;

        let used = given.saturating_sub(self.sinks);
        let queries = graph.reshape(queries, [each, given, depth])?;
        let queries = rows_of(graph, queries, given - used..given)?;
        let queries = convert(graph, queries, Elem::F32)?;
        let keys = convert(graph, rows.keys, Elem::F32)?;
        let keys = graph.reshape(keys, [count, 1, tokens, depth])?;
        let mean = reduce(graph, queries, 1, Statistic::Mean, Some(live))?;
        let mean = graph.reshape(mean, [each, 1, depth])?;
        let at = graph.reshape(next, [each, 1])?;
        let turned = self.rope.rotate_averaged(graph, mean, None, at, None, self.future)?;
        let turned = graph.reshape(turned, [count, group, 1, depth])?;
        let one = AttentionScore {
            queries: Queries::All,
            norm: Norm::ScaledLogits,
            rows: RowReduction::Sum,
            heads: HeadReduction::None,
            ..AttentionScore::default()
        };
        let all = graph.filled([count], 1);
        let inputs = |queries: Tensor, query_lengths: Tensor| AttentionInputs {
            lengths: Some(lengths),
            query_lengths: Some(query_lengths),
            ..AttentionInputs::new(queries, keys)
        };
        let logits = one.clone().build(graph, inputs(turned, all))?.score;
        let logits = graph.reshape(logits, [each, tokens])?;
        let logits = if self.covariance {
            let covariance = self.covariance_of(graph, queries, mean, live, at)?;
            let covariance = graph.reshape(covariance, [count, group, depth, depth])?;
            let products = AttentionScore { norm: Norm::Logits, rows: RowReduction::None, ..one };
            let all = graph.filled([count], depth);
            let products = products.build(graph, inputs(covariance, all))?.score;
            let products = graph.reshape(products, [count, group, depth, tokens])?;
            let flat = graph.reshape(keys, [count, tokens, depth])?;
            let columns = transposed(graph, flat)?;
            let columns = graph.reshape(columns, [count, 1, depth, tokens])?;
            let products = multiply(graph, products, columns)?;
            let products = graph.reshape(products, [each, depth, tokens])?;
            let quadratic = reduce(graph, products, 1, Statistic::Sum, None)?;
            let half = Elementwise { operation: Operation::Add, scale: (0.5 / f64::from(depth.max(1))) as f32, ..Elementwise::default() };
            half.build(graph, logits, quadratic)?
        } else {
            logits
        };

        // The sinks take no part in the softmax.
        let first = self.sinks.min(tokens);
        let own = Piece { end: u32::MAX, first, step: 1 };
        let own = Pattern::Pieces([Piece { end: first, first: NONE, step: 0 }, own, own]);
        let own = graph.pattern(Desc::new([each, tokens], Elem::U32), own);
        let hidden = graph.filled_f32([each, tokens], f32::NEG_INFINITY);
        let logits = gather_rows(graph, logits, own, Some(hidden))?;
        let share = softmax(graph, logits, Some(next))?;
        let share = graph.reshape(share, [count, group, tokens])?;
        let share = reduce(graph, share, 1, Statistic::Mean, None)?;
        let epsilon = graph.constant(HostTensor::f32([1], vec![self.epsilon]));
        let mut scores = if self.epsilon == 0.0 { share } else { add(graph, share, epsilon)? };
        if self.value_norms {
            let values = graph.reshape(cache.values, [count, tokens, cache.values.shape().dims()[3]])?;
            let norms = row_normalize(graph, values, Some(lengths))?.norm;
            scores = multiply(graph, scores, norms)?;
        }
        let scores = keep_live(graph, scores, lengths)?;
        rows.by_head(graph, scores)
    }

    /// The covariance of queries `[each, M, D]` after the mean rotation, `[each, D, D]`.
    fn covariance_of(&self, graph: &mut Graph, queries: Tensor, mean: Tensor, live: Tensor, at: Tensor) -> Result<Tensor, Error> {
        let [each, used, depth] = queries.shape().exactly("expected attention: queries", "[rows, M, D]")?;
        let less = Elementwise { operation: Operation::Add, scale: -1.0, ..Elementwise::default() };
        let centred = less.build(graph, queries, mean)?;
        let first = graph.filled([used], 0);
        let at = gather_rows(graph, at, first, None)?;
        // Dead queries become 0 here.
        let turned = self.rope.rotate_averaged(graph, centred, None, at, Some(live), self.future)?;
        let channels = transposed(graph, turned)?;
        let channels = graph.reshape(channels, [each, 1, depth, used])?;
        let products = AttentionScore {
            queries: Queries::All,
            norm: Norm::Logits,
            rows: RowReduction::None,
            heads: HeadReduction::None,
            ..AttentionScore::default()
        };
        let sums = products.build(graph, AttentionInputs::new(channels, channels))?.score;
        let sums = graph.reshape(sums, [each, depth, depth])?;
        let share = reciprocal(graph, live, used)?;
        let share = graph.reshape(share, [each, 1, 1])?;
        multiply(graph, sums, share)
    }
}

/// The softmax of each row of f32 `[rows, N]`, over its first `lengths[row]` numbers; 0 after them.
pub(super) fn softmax(graph: &mut Graph, logits: Tensor, lengths: Option<Tensor>) -> Result<Tensor, Error> {
    let [rows, count] = logits.shape().exactly("softmax: logits", "[rows, N]")?;
    // The attention of a query of nothing to keys of nothing, with a bias.
    let queries = graph.filled_f32([rows, 1, 1, 1], 0.0);
    let keys = graph.filled_f32([rows, 1, count, 1], 0.0);
    let sum = AttentionScore { rows: RowReduction::Sum, heads: HeadReduction::Sum, scale: Some(1.0), ..AttentionScore::default() };
    let all = graph.filled([rows], 1);
    let inputs = AttentionInputs { bias: Some(logits), lengths, query_lengths: Some(all), ..AttentionInputs::new(queries, keys) };
    Ok(sum.build(graph, inputs)?.score)
}

/// `[rows, N, C]` as `[rows, C, N]`.
fn transposed(graph: &mut Graph, x: Tensor) -> Result<Tensor, Error> {
    let [rows, count, channels] = x.shape().exactly("transposed: x", "[rows, N, C]")?;
    if count == 0 {
        return graph.reshape(x, [rows, channels, count]);
    }
    // One window over all of a row has each channel's numbers side by side.
    let all = Window { size: [1, count], stride: [1, 1], padding: [0, 0] }.build(graph, x, [1, count])?;
    graph.reshape(all, [rows, channels, count])
}
