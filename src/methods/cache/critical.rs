//! CriticalKV's score.

use crate::checks::expect;
use crate::error::Error;
use crate::graph::{Graph, Tensor};
use crate::kernels::{
    AttentionInputs, AttentionScore, HeadReduction, Norm, Order, Queries, RowReduction, TopK, TopKInputs, add, gather_rows, keep_live,
    multiply,
};
use crate::methods::cache::state::Rows;
use crate::methods::cache::{Cache, CacheBudget};
use crate::methods::parts::lists::product;
use crate::options;
use crate::tensor::{Desc, HostTensor};
use crate::token_map::count_by_length;

/// How much of a layer's output each token may change: its score times the size of its value after the output projection.
///
/// ```text
/// first:     the best int(first n) of each head by its scores, of a budget of n:   infinity
/// others:    (scores[b, h, j] + epsilon) * mean over the query heads g of h of sum_e |sum_v weights[g, e, v] values[b, h, j, v]|
/// ```
///
/// Feng et al., "Identify Critical KV Cache in LLM Inference from an Output Perturbation Perspective" (2025), as kvpress's `CriticalKVPress`
/// has it. It takes any score that is like attention and gives another: pass that to [`Evict`](super::Evict) with the same budget. With
/// [`AdaKV`](super::AdaKV) the heads compete by these scores; kvpress's `CriticalAdaKVPress` divides the budget by the scores before. A sum of
/// scores, as [`TopP`](super::TopP) makes it, is infinite.
///
/// - On ties of the first ones the earliest stays. A token with a NaN among its numbers scores NaN, and goes before all others.
/// - A dead token scores 0.
///
/// Cost: `2 H E V N` operations a batch row: that of projecting all values once. No projected value is in memory. A selection, and about five
/// small dispatches; for a batch of more than one also a copy of the values.
///
/// ```
/// use tokenpress::methods::{Cache, CacheBudget, CriticalKV};
/// use tokenpress::{Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// let values = graph.constant(HostTensor::f32([1, 1, 4, 1], vec![1.0, 1.0, -8.0, 2.0]));
/// let cache = Cache::new(&mut graph, values, values)?;
/// let scores = graph.constant(HostTensor::f32([1, 1, 4], vec![0.5, 0.25, 0.125, 0.125]));
/// // Two outputs, the second with a weight of 2.
/// let weights = graph.constant(HostTensor::f32([1, 2, 1], vec![1.0, 2.0]));
/// let critical = CriticalKV { epsilon: 0.0, ..CriticalKV::new(CacheBudget::Tokens(2)) };
/// let scores = critical.build(&mut graph, &cache, scores, weights)?;
/// graph.output("scores", scores)?;
/// assert_eq!(graph.run_reference(&[].into())?["scores"].floats(), [f32::INFINITY, 0.75, 3.0, 0.75]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[doc(alias("CriticalKVPress", "value_norm", "output_perturbation"))]
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CriticalKV {
    /// How many tokens each head will keep.
    pub budget: CacheBudget,
    /// Share of the budget that goes by the scores alone, 0 to 1.
    pub first: f64,
    /// What is added to a score, so that values count where scores are 0.
    pub epsilon: f32,
}

impl CriticalKV {
    /// The authors' choice: half of the budget goes by the scores alone, and epsilon is 0.0001.
    pub const fn new(budget: CacheBudget) -> Self {
        Self { budget, first: 0.5, epsilon: 1e-4 }
    }

    /// Scores f32 `[B, Hkv, N]` from scores f32 `[B, Hkv, N]`. `weights` are the output projection's for each query head, `[H, E, V]` of the
    /// values' element type: a weight `[E, H * V]`, as PyTorch keeps it, is that by strides ([`TensorView`](crate::TensorView)).
    ///
    /// # Errors
    /// [`Error::Shape`] and [`Error::Elem`] for other tensors, [`Error::Value`] for a share outside of 0 to 1 and for an epsilon that is not
    /// finite.
    pub fn build(&self, graph: &mut Graph, cache: &Cache, scores: Tensor, weights: Tensor) -> Result<Tensor, Error> {
        let rows = cache.rows(graph)?;
        let scores = rows.scores(graph, "critical_kv: scores", scores)?;
        self.budget.check()?;
        options::share("critical_kv: first", self.first)?;
        options::finite("critical_kv: epsilon", self.epsilon)?;
        let Rows { rows: count, tokens, lengths, .. } = rows;

        let size = projected(graph, cache, &rows, weights)?;
        let epsilon = graph.constant(HostTensor::f32([1], vec![self.epsilon]));
        let raised = add(graph, scores, epsilon)?;
        let critical = multiply(graph, raised, size)?;

        let first = |live: u32| (f64::from(self.budget.count(cache, live)) * self.first) as u32;
        let (counts, most) = count_by_length(graph, lengths, tokens, first)?;
        let inputs = TopKInputs { counts: Some(counts), lengths: Some(lengths), ..TopKInputs::new(scores) };
        let best = TopK { k: most, order: Order::Index, ..TopK::default() }.build(graph, inputs)?;
        let infinite = graph.filled_f32([count, most], f32::INFINITY);
        let critical = gather_rows(graph, infinite, best.places, Some(critical))?;
        let critical = keep_live(graph, critical, lengths)?;
        rows.by_head(graph, critical)
    }
}

/// The sum of magnitudes of each value after the projection, the mean over the query heads of its head: f32 `[rows, tokens]`.
fn projected(graph: &mut Graph, cache: &Cache, rows: &Rows, weights: Tensor) -> Result<Tensor, Error> {
    let &Rows { batch, heads, rows: count, tokens, .. } = rows;
    let [_, _, _, width] = cache.values.shape().exactly("cache: values", "[B, Hkv, N, V]")?;
    let [query_heads, channels, _] = weights.shape().exactly("critical_kv: weights", "[H, E, V]")?;
    expect("critical_kv: weights", weights.desc(), Desc::new([query_heads, channels, width], cache.values.elem()))?;
    if !weights.elem().is_float() {
        return Err(Error::Elem { argument: "critical_kv: weights", expected: "f32, f16 or bf16", actual: weights.elem() });
    }
    let group = query_heads.checked_div(heads).unwrap_or(0);
    if group * heads != query_heads {
        let expected = format!("[H, E, {width}] with H a multiple of {heads}");
        return Err(Error::Shape { argument: "critical_kv: weights", expected, actual: weights.shape() });
    }
    // A head's weights serve all batch rows, so that the heads are the batch, and the tokens of all batch rows stand in one list.
    let wide = product("cache: values", cache.values.shape(), tokens, width)?;
    let all = product("cache: values", cache.values.shape(), batch, tokens)?;
    let values = graph.reshape(cache.values, [1, count, wide])?;
    let values = swapped(graph, values, [batch, heads])?;
    let values = graph.reshape(values, [heads, 1, all, width])?;
    let weights = graph.reshape(weights, [heads, group, channels, width])?;
    let size = AttentionScore {
        queries: Queries::All,
        norm: Norm::Magnitude,
        rows: RowReduction::Sum,
        heads: HeadReduction::Mean,
        ..AttentionScore::default()
    };
    let every = graph.filled([heads], channels);
    let inputs = AttentionInputs { query_lengths: Some(every), ..AttentionInputs::new(weights, values) };
    let size = size.build(graph, inputs)?.score;
    let size = graph.reshape(size, [1, count, tokens])?;
    let size = swapped(graph, size, [heads, batch])?;
    graph.reshape(size, [count, tokens])
}

/// Rows `[1, a b, C]` as `[1, b a, C]`.
fn swapped(graph: &mut Graph, x: Tensor, [a, b]: [u32; 2]) -> Result<Tensor, Error> {
    if a == 1 || b == 1 {
        return Ok(x);
    }
    let order = graph.listed("critical_kv: cache", [1, a * b], || (0..b).flat_map(|j| (0..a).map(move |i| i * b + j)).collect())?;
    gather_rows(graph, x, order, None)
}
