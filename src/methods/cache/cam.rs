//! CaM: what is evicted is spread over the tokens after it.

use crate::checks::expect;
use crate::error::Error;
use crate::graph::{Graph, Tensor};
use crate::kernels::{
    Activation, Elementwise, Limit, PaddedWindows, Pool, Reduce, Relation, RunSegments, Threshold, ThresholdInputs, Windows, add, compact,
    convert, gather_rows, group_tokens, keep_live, mark, merge_tokens, multiply, previous_at,
};
use crate::methods::cache::state::Rows;
use crate::methods::cache::{Cache, Evicted};
use crate::methods::parts::lists::choose;
use crate::options;
use crate::tensor::{Desc, Elem, HostTensor};
use crate::token_map::count_by_length;

/// Adds the value of what an eviction took to the values of the tokens after it, with a probability.
///
/// ```text
/// for each evicted i:   T = the first `window` tokens behind it that stay
///                       i goes on if chances[i] * mean over T of attention < attention[i]
///                       values[t] += values[i] / |T| for each t of T, if it does
/// ```
///
/// Zhang et al., "CaM: Cache Merging for Memory-efficient LLMs Inference" (ICML 2024), as kvpress's `CAMPress` has it: that is a Bernoulli draw of
/// the probability `clamp(attention[i] / mean, 0, 1)`. Keys stay as they are. `attention` is what the tokens have received so far, as
/// [`ObservedAttention::accumulate`](super::ObservedAttention::accumulate) makes it.
///
/// kvpress evicts the same tokens in all heads, and spreads as many of them as came since the last eviction; here each head has its own, and
/// all that went are spread: the same, where a full cache evicts as many as came.
///
/// - A token behind which nothing stays goes nowhere, and so does one whose attention is NaN. If the mean of T is 0, any attention above 0 goes on.
/// - What several tokens give to the same one is summed in f32, but what the tokens between two that stay give is rounded once to the values'
///   element type.
/// - The map is that of the eviction: no token has a single parent.
///
/// Cost: one pass over the values that go on, `window` reads of a sum for each that stays, and about twenty small dispatches.
///
/// ```
/// use tokenpress::methods::{Cache, CaM, CacheBudget, Evict};
/// use tokenpress::{Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// let values = graph.constant(HostTensor::f32([1, 1, 4, 1], vec![1.0, 6.0, 2.0, 3.0]));
/// let cache = Cache::new(&mut graph, values, values)?;
/// let attention = graph.constant(HostTensor::f32([1, 1, 4], vec![4.0, 1.0, 2.0, 2.0]));
/// let evict = Evict { budget: CacheBudget::Tokens(3), ..Evict::UNPROTECTED };
/// let evicted = evict.build(&mut graph, &cache, attention)?;
/// // Token 1 has half of the attention of those behind it.
/// let chances = graph.constant(HostTensor::f32([1, 1, 4], vec![0.4; 4]));
/// let spread = CaM { window: 2 }.build(&mut graph, &cache, &evicted, attention, chances)?;
/// graph.output("values'", spread.cache.values)?;
/// assert_eq!(graph.run_reference(&[].into())?["values'"].floats(), [1.0, 5.0, 6.0]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[doc(alias("CAMPress", "cache_merging"))]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CaM {
    /// Over how many tokens a value is spread, at least 1.
    pub window: u32,
}

/// kvpress's.
impl Default for CaM {
    fn default() -> Self {
        Self { window: 32 }
    }
}

impl CaM {
    /// The cache that `evicted` left of `before`, with what it took spread over it. `attention` and `chances` are f32 `[B, Hkv, N]` of the
    /// tokens before; chances are random numbers from 0 to below 1, new ones for each step.
    ///
    /// # Errors
    /// [`Error::Shape`] where `evicted` is not of this cache and for other tensors, [`Error::Elem`] for values that are no floats,
    /// [`Error::Value`] for a window of 0.
    pub fn build(
        &self,
        graph: &mut Graph,
        before: &Cache,
        evicted: &Evicted,
        attention: Tensor,
        chances: Tensor,
    ) -> Result<Evicted, Error> {
        let rows = before.rows(graph)?;
        let Rows { batch, heads, rows: count, tokens, lengths, .. } = rows;
        let map = evicted.map;
        options::within("cam: window", 1..=1 << 24, self.window)?;
        expect("cam: parent", map.parent.desc(), Desc::new([count, tokens], Elem::U32))?;
        let [_, left] = map.representative.shape().exactly("cam: representative", "[B * Hkv, new]")?;
        let elem = before.values.elem();
        if !elem.is_float() {
            return Err(Error::Elem { argument: "cam: values", expected: "f32, f16 or bf16", actual: elem });
        }
        let given = rows.scores(graph, "cam: attention", attention)?;
        let chances = rows.scores(graph, "cam: chances", chances)?;
        let live = graph.reshape(evicted.cache.lengths, [count])?;
        let ahead = PaddedWindows { after: [0, self.window - 1], ..PaddedWindows::sequence(self.window, 1) };
        let mean_ahead = |graph: &mut Graph, x: Tensor| {
            let x = graph.reshape(x, [count, left, 1])?;
            let mean = Pool::Average(Windows::Padded(ahead)).build(graph, x, [1, left], Some(live))?;
            graph.reshape(mean, [count, left])
        };

        // The first token behind each that stays: one after the last before it, or the first of all.
        let went = choose(graph, map.parent, left, [0, 1])?;
        let previous = previous_at(graph, tokens, 1);
        let start = RunSegments::default().build(graph, went, previous, Some(lengths))?.start;
        let last = gather_rows(graph, map.parent, start, None)?;
        let next = graph.counted([count, left], 1, 1);
        let first = graph.filled([count, tokens], 0);
        let target = gather_rows(graph, next, last, Some(first))?;

        let of_left = evicted.gather(graph, attention)?;
        let mean = mean_ahead(graph, of_left)?;
        let mean = gather_rows(graph, mean, target, None)?;
        let mean = multiply(graph, chances, mean)?;
        let without = Elementwise { scale: -1.0, ..Elementwise::default() };
        let excess = without.build(graph, given, mean)?;
        let marks = choose(graph, map.parent, left, [mark::EXCLUDED, mark::CANDIDATE])?;
        let inputs = ThresholdInputs { lengths: Some(lengths), marks: Some(marks), ..ThresholdInputs::new(excess, Limit::Constant(0.0)) };
        let goes_on = Threshold { relation: Relation::Above }.build(graph, inputs)?;
        let goes_on = compact(graph, goes_on, Some(lengths))?;
        let target = gather_rows(graph, target, goes_on.indices, None)?;
        let target = gather_rows(graph, target, goes_on.ranks, None)?;

        // 1 / |T|: the mean of a 1 for the last token over fewer than a window, and that of a window otherwise.
        let ones = graph.filled_f32([count, left], 1.0);
        let (but_last, _) = count_by_length(graph, live, left, |live| live.saturating_sub(1))?;
        let (all, others) = (keep_live(graph, ones, live)?, keep_live(graph, ones, but_last)?);
        let end = without.build(graph, all, others)?;
        let share = mean_ahead(graph, end)?;
        let least = 1.0 / self.window as f32;
        let [up, down] = [least, -least].map(|offset| graph.constant(HostTensor::f32([1], vec![offset])));
        let above = Elementwise { activation: Activation::Relu, ..Elementwise::default() }.build(graph, share, down)?;
        let share = add(graph, above, up)?;
        let weights = gather_rows(graph, share, target, None)?;

        let width = before.values.shape().dims()[3];
        let values = graph.reshape(before.values, [count, tokens, width])?;
        let groups = group_tokens(graph, target, left)?;
        let sums = merge_tokens(graph, values, groups, Some(weights), Reduce::WeightedSum)?;
        let float = |graph: &mut Graph, x: Tensor| if elem == Elem::F32 { Ok(x) } else { convert(graph, x, Elem::F32) };
        let sums = float(graph, sums)?;
        let behind = PaddedWindows { before: [0, self.window - 1], count_padding: true, ..PaddedWindows::sequence(self.window, 1) };
        let spread = Pool::Average(Windows::Padded(behind)).build(graph, sums, [1, left], Some(live))?;
        let kept = graph.reshape(evicted.cache.values, [count, left, width])?;
        let kept = float(graph, kept)?;
        let values = Elementwise { scale: self.window as f32, ..Elementwise::default() }.build(graph, kept, spread)?;
        let values = if elem == Elem::F32 { values } else { convert(graph, values, elem)? };
        let values = graph.reshape(values, [batch, heads, left, width])?;
        Ok(Evicted { cache: Cache { values, ..evicted.cache }, map })
    }
}
