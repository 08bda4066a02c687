//! Which tokens stay: head by head, of all heads together, or chunk by chunk.

use crate::error::Error;
use crate::graph::{Graph, Tensor};
use crate::kernels::{
    Order, PaddedWindows, Pool, Statistic, TopK, TopKInputs, Windows, compact, gather_rows, keep_live, lookup, mark, reduce,
};
use crate::methods::cache::budget::ends_marked;
use crate::methods::cache::state::{Rows, to_heads};
use crate::methods::cache::{AlwaysKept, Cache, CacheBudget, Evicted};
use crate::methods::parts::lists::{first_entries, product, select_mask};
use crate::options;
use crate::tensor::HostTensor;
use crate::token_map::{TokenMap, count_by_length};

/// Keeps the best tokens of each head: the same number in all heads of a length.
///
/// Ties go to the lowest place. NaN scores go before all others. What is left stays in order, unlike kvpress's caches, which are in the
/// order of the scores; attention is the same.
///
/// Cost: one selection ([`TopK`]), one copy each of the kept keys, values and positions, and up to three small dispatches for what is
/// always kept. The number of tokens that are left is on the GPU, and the new capacity is the largest that any length can have.
///
/// ```
/// use tokenpress::methods::{AlwaysKept, Cache, CacheBudget, Evict};
/// use tokenpress::{Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// let keys = graph.constant(HostTensor::f32([1, 2, 4, 1], vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]));
/// let cache = Cache::new(&mut graph, keys, keys)?;
/// let scores = graph.constant(HostTensor::f32([1, 2, 4], vec![9.0, 8.0, 1.0, 2.0, 1.0, 7.0, 8.0, 0.0]));
/// // The latest token stays in any case.
/// let evict = Evict { budget: CacheBudget::Tokens(2), always: AlwaysKept { recent: 1, ..AlwaysKept::NOTHING } };
/// let kept = evict.build(&mut graph, &cache, scores)?;
/// graph.output("keys'", kept.cache.keys)?;
/// assert_eq!(graph.run_reference(&[].into())?["keys'"].floats(), [0.0, 3.0, 6.0, 7.0]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[doc(alias("evict", "compress", "prune"))]
#[derive(Debug, Clone, Copy)]
pub struct Evict {
    /// How many tokens each head keeps.
    pub budget: CacheBudget,
    /// What stays in any case.
    pub always: AlwaysKept,
}

impl Evict {
    /// Half of the tokens, with nothing that is always kept: a base for other options.
    pub const UNPROTECTED: Self = Self { budget: CacheBudget::Share(0.5), always: AlwaysKept::NOTHING };

    /// What is left of a cache by these scores, f32 `[B, Hkv, N]`.
    ///
    /// # Errors
    /// [`Error::Shape`] and [`Error::Elem`] for other tensors, [`Error::Value`] for a share outside of 0 to 1.
    pub fn build(&self, graph: &mut Graph, cache: &Cache, scores: Tensor) -> Result<Evicted, Error> {
        let rows = cache.rows(graph)?;
        let scores = rows.scores(graph, "evict: scores", scores)?;
        self.budget.check()?;
        let marks = self.always.marked(graph, &rows)?;
        let count = |live: u32| self.budget.count(cache, live).max(self.always.least(live));
        let (counts, most) = count_by_length(graph, rows.lengths, rows.tokens, count)?;
        let select = TopK { k: most, order: Order::Index, ..TopK::default() };
        let inputs = TopKInputs { scores, lengths: Some(rows.lengths), counts: Some(counts), marks };
        let selection = select.build(graph, inputs)?;
        let map = TokenMap { parent: selection.places, representative: selection.indices, lengths: selection.kept };
        cache.keep(graph, map)
    }
}

/// Keeps the best tokens of all heads of a batch row together, and so many of each head at least.
///
/// ```text
/// of n = budget tokens a head:   the best int(safeguard n) of each head,
///                                then the best of all that are left, Hkv n in all
/// ```
///
/// Feng et al., "Ada-KV: Optimizing KV Cache Eviction by Adaptive Budget Allocation for Efficient LLM Inference" (NeurIPS 2025), with the
/// safeguard of kvpress's `AdaKVPress`. The authors' own code rounds an affine mix of the two budgets instead, and may keep a few tokens more
/// or less in all. kvpress masks what is evicted; here it is gone, and heads have different lengths.
///
/// Ties go to the lowest head, then to the lowest place. NaN scores go before all others. What is always kept counts in its head's share.
///
/// Cost: a selection in each head, one in all heads of a batch row as one row of `Hkv N`, a compaction, a copy each of the kept keys, values
/// and positions, and about ten small dispatches. The new capacity is what one head may keep: `min(N, Hkv n)`.
///
/// ```
/// use tokenpress::methods::{AdaKV, AlwaysKept, Cache, CacheBudget};
/// use tokenpress::{Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// let keys = graph.constant(HostTensor::f32([1, 2, 3, 1], vec![0.0; 6]));
/// let cache = Cache::new(&mut graph, keys, keys)?;
/// let scores = graph.constant(HostTensor::f32([1, 2, 3], vec![9.0, 8.0, 7.0, 1.0, 3.0, 2.0]));
/// let ada = AdaKV { budget: CacheBudget::Tokens(2), safeguard: 0.5, always: AlwaysKept::NOTHING };
/// let kept = ada.build(&mut graph, &cache, scores)?;
/// graph.output("lengths", kept.cache.lengths)?;
/// assert_eq!(graph.run_reference(&[].into())?["lengths"].integers(), [3, 1]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[doc(alias("Ada-KV"))]
#[derive(Debug, Clone, Copy)]
pub struct AdaKV {
    /// How many tokens a head keeps in the mean.
    pub budget: CacheBudget,
    /// Share of the budget that every head keeps, 0 to 1; kvpress's is 0.2.
    pub safeguard: f64,
    /// What stays in any case.
    pub always: AlwaysKept,
}

impl AdaKV {
    /// What is left of a cache by these scores, f32 `[B, Hkv, N]`.
    ///
    /// # Errors
    /// [`Error::Shape`] and [`Error::Elem`] for other tensors, [`Error::Value`] for shares outside of 0 to 1.
    pub fn build(&self, graph: &mut Graph, cache: &Cache, scores: Tensor) -> Result<Evicted, Error> {
        let rows = cache.rows(graph)?;
        let Rows { batch, heads, rows: count, tokens, lengths, .. } = rows;
        let scores = rows.scores(graph, "ada_kv: scores", scores)?;
        self.budget.check()?;
        options::share("ada_kv: safeguard", self.safeguard)?;
        let marks = self.always.marked(graph, &rows)?;
        let of_head = |live: u32| self.budget.count(cache, live).max(self.always.least(live));
        let safe = |live: u32| ((f64::from(of_head(live)) * self.safeguard) as u32).max(self.always.least(live));

        // What every head keeps is protected where all compete.
        let (counts, most) = count_by_length(graph, lengths, tokens, safe)?;
        let inputs = TopKInputs { scores, lengths: Some(lengths), counts: Some(counts), marks };
        let safe = TopK { k: most, order: Order::Index, ..TopK::default() }.build(graph, inputs)?;
        let protected = graph.filled([count, most], mark::PROTECTED);
        let others = marks.unwrap_or_else(|| graph.filled([count, tokens], mark::CANDIDATE));
        let marks = gather_rows(graph, protected, safe.places, Some(others))?;
        // Dead tokens stand between those of two heads.
        let marks = keep_live(graph, marks, lengths)?;
        let table = graph.constant(HostTensor::u32([3], vec![mark::CANDIDATE, mark::PROTECTED, mark::EXCLUDED]));
        let marks = lookup(graph, table, marks)?;

        let wide = product("cache: keys", cache.keys.shape(), heads, tokens)?;
        let (counts, most) = count_by_length(graph, lengths, tokens, of_head)?;
        let counts = graph.reshape(counts, [batch, heads])?;
        let counts = reduce(graph, counts, 1, Statistic::Sum, None)?;
        let [all, marks] = [scores, marks].map(|tensor| graph.reshape(tensor, [batch, wide]));
        let inputs = TopKInputs { counts: Some(counts), marks: Some(marks?), ..TopKInputs::new(all?) };
        let all = heads.saturating_mul(most).min(wide);
        let mask = select_mask(graph, TopK { k: all, ..TopK::default() }, inputs)?;
        let mask = graph.reshape(mask, [count, tokens])?;
        let kept = compact(graph, mask, Some(lengths))?;
        let representative = first_entries(graph, kept.indices, all.min(tokens))?;
        cache.keep(graph, TokenMap { parent: kept.ranks, representative, lengths: kept.counts })
    }
}

/// Keeps whole chunks of neighbouring tokens, the same in all heads of a batch row.
///
/// ```text
/// chunk c of `chunk` tokens:   score[c] = mean over its tokens of the sum over heads of their scores
/// the best max(1, int(share chunks)) chunks stay
/// ```
///
/// Liu et al., "ChunkKV: Semantic-Preserving KV Cache Compression for Efficient Long-Context LLM Inference" (2025), as kvpress's
/// `ChunkKVPress` has it. Its last chunk may be shorter, and counts as a chunk; so the number of tokens that stay may differ by one chunk.
/// kvpress takes the chunks of batch row 0 for all rows; here each row has its own.
///
/// - Of a budget in tokens or bytes, as many whole chunks stay as fit, and one at least.
/// - A chunk with a token that is always kept stays. Marks for single tokens are refused.
/// - It is for heads that remember the same tokens: the first head's number of live tokens counts for all.
/// - Ties go to the first chunk. Chunks with a NaN score go before all others.
///
/// Cost: a sum over the heads, a pooling, a selection of chunks, a compaction, and a copy each of the kept keys, values and positions.
///
/// ```
/// use tokenpress::methods::{AlwaysKept, Cache, CacheBudget, ChunkKV};
/// use tokenpress::{Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// let keys = graph.constant(HostTensor::f32([1, 1, 5, 1], vec![0.0, 1.0, 2.0, 3.0, 4.0]));
/// let cache = Cache::new(&mut graph, keys, keys)?;
/// let scores = graph.constant(HostTensor::f32([1, 1, 5], vec![5.0, 0.0, 3.0, 1.0, 2.2]));
/// let chunks = ChunkKV { chunk: 2, budget: CacheBudget::Share(0.67), always: AlwaysKept::NOTHING };
/// let kept = chunks.build(&mut graph, &cache, scores)?;
/// graph.output("positions", kept.cache.positions)?;
/// graph.output("lengths", kept.cache.lengths)?;
/// let out = graph.run_reference(&[].into())?;
/// // Chunks of scores 2.5, 2 and 2.2, of which two stay.
/// assert_eq!(out["lengths"].integers(), [3]);
/// assert_eq!(out["positions"].integers()[..3], [0, 1, 4]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct ChunkKV {
    /// Tokens of a chunk, at least 1; kvpress's is 20.
    pub chunk: u32,
    /// How much stays; a share is one of the chunks.
    pub budget: CacheBudget,
    /// What stays in any case, each with its chunk.
    pub always: AlwaysKept,
}

impl ChunkKV {
    /// What is left of a cache by these scores, f32 `[B, Hkv, N]`.
    ///
    /// # Errors
    /// [`Error::Shape`] and [`Error::Elem`] for other tensors, [`Error::Value`] for a chunk of 0, a share outside of 0 to 1, and marks.
    pub fn build(&self, graph: &mut Graph, cache: &Cache, scores: Tensor) -> Result<Evicted, Error> {
        let rows = cache.rows(graph)?;
        let Rows { batch, heads, tokens, lengths, .. } = rows;
        rows.scores(graph, "chunk_kv: scores", scores)?;
        self.budget.check()?;
        options::within("chunk_kv: chunk", 1..=1 << 24, self.chunk)?;
        if self.always.marks.is_some() {
            let (expected, actual) = ("sinks and latest tokens alone".to_owned(), "marks for single tokens".to_owned());
            return Err(Error::Value { argument: "chunk_kv: always", expected, actual });
        }
        // A cache without heads has no first one, and nothing to keep.
        let lengths = match heads {
            0 => graph.filled([batch], 0),
            1 => lengths,
            _ => {
                let lengths = graph.reshape(lengths, [1, rows.rows])?;
                let first = graph.counted([1, batch], 0, heads);
                let lengths = gather_rows(graph, lengths, first, None)?;
                graph.reshape(lengths, [batch])?
            }
        };
        let chunk = self.chunk;
        let windows = Windows::Padded(PaddedWindows { partial: true, ..PaddedWindows::sequence(chunk, chunk) });
        let score = reduce(graph, scores, 1, Statistic::Sum, None)?;
        let score = graph.reshape(score, [batch, tokens, 1])?;
        let score = Pool::Average(windows).build(graph, score, [1, tokens], Some(lengths))?;
        let chunks = tokens.div_ceil(chunk);
        let score = graph.reshape(score, [batch, chunks])?;

        let AlwaysKept { sinks, recent, .. } = self.always;
        let first = sinks.div_ceil(chunk);
        let end = |live: u32| live.saturating_sub(recent) / chunk;
        let protected = |live: u32| {
            let (chunks, end) = (live.div_ceil(chunk), if recent == 0 { u32::MAX } else { end(live) });
            first.min(chunks) + chunks.saturating_sub(end.max(first))
        };
        let count = |live: u32| {
            let chunks = live.div_ceil(chunk);
            let fit = match self.budget {
                CacheBudget::Share(_) => self.budget.count(cache, chunks),
                CacheBudget::Tokens(_) | CacheBudget::Bytes(_) if self.budget.count(cache, live) == live => chunks,
                CacheBudget::Tokens(_) | CacheBudget::Bytes(_) => self.budget.count(cache, live) / chunk,
            };
            fit.max(1).max(protected(live)).min(chunks)
        };
        let (live, _) = count_by_length(graph, lengths, tokens, |live| live.div_ceil(chunk))?;
        let (counts, most) = count_by_length(graph, lengths, tokens, count)?;
        let marks = if sinks == 0 && recent == 0 {
            None
        } else {
            let (end, _) = count_by_length(graph, lengths, tokens, |live| if recent == 0 { live.div_ceil(chunk) } else { end(live) })?;
            Some(ends_marked(graph, [batch, chunks], first, end, None)?)
        };
        let inputs = TopKInputs { scores: score, lengths: Some(live), counts: Some(counts), marks };
        let mask = select_mask(graph, TopK { k: most, ..TopK::default() }, inputs)?;

        let chunk_of = graph.listed("chunk_kv: cache", [tokens], || (0..tokens).map(|j| j / chunk).collect())?;
        let mask = gather_rows(graph, mask, chunk_of, None)?;
        let kept = compact(graph, mask, Some(lengths))?;
        let indices = first_entries(graph, kept.indices, most.saturating_mul(chunk).min(tokens))?;
        let representative = to_heads(graph, indices, heads)?;
        let parent = to_heads(graph, kept.ranks, heads)?;
        let lengths = to_heads(graph, kept.counts, heads)?;
        cache.keep(graph, TokenMap { parent, representative, lengths })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::{HeadReduction, RowReduction};
    use crate::methods::cache::{LagKV, ObservedAttention, SnapKV, key_norm};
    use crate::tensor::Elem;

    /// Two heads of six tokens, of which the second head has four.
    fn ragged(graph: &mut Graph) -> Cache {
        let x = graph.constant(HostTensor::f32([1, 2, 6, 1], vec![0.0; 12]));
        let lengths = graph.input("lengths", [1, 2], Elem::U32);
        Cache::ragged(graph, x, x, lengths).unwrap()
    }

    /// Positions that stay in each head.
    fn left(graph: &mut Graph, evicted: &Evicted) -> Vec<Vec<u32>> {
        graph.output("positions", evicted.cache.positions).unwrap();
        graph.output("lengths'", evicted.cache.lengths).unwrap();
        let out = graph.run_reference(&[("lengths".to_owned(), HostTensor::u32([1, 2], vec![6, 4]))].into()).unwrap();
        let room = out["positions"].shape().dims()[2] as usize;
        let rows = out["positions"].integers().chunks(room).zip(out["lengths'"].integers());
        rows.map(|(row, left)| row[..*left as usize].to_vec()).collect()
    }

    #[test]
    fn marks_hold_beside_sinks_and_latest_tokens() {
        let rising: Vec<f32> = (0..12).map(|j| j as f32).collect();
        for ada in [false, true] {
            let mut graph = Graph::new();
            let cache = ragged(&mut graph);
            let scores = graph.constant(HostTensor::f32([1, 2, 6], rising.clone()));
            // The sink is excluded in vain; the best between are excluded, and one is protected.
            let marks = graph.constant(HostTensor::u32([1, 2, 6], vec![2, 0, 1, 2, 0, 0, 2, 0, 0, 0, 0, 0]));
            let always = AlwaysKept { sinks: 1, recent: 1, marks: Some(marks) };
            let budget = CacheBudget::Tokens(3);
            let kept = match ada {
                false => Evict { budget, always }.build(&mut graph, &cache, scores),
                true => AdaKV { budget, safeguard: 1.0, always }.build(&mut graph, &cache, scores),
            };
            assert_eq!(left(&mut graph, &kept.unwrap()), [[0, 2, 5], [0, 2, 3]], "ada {ada}");
        }
    }

    #[test]
    fn heads_that_share_a_budget_never_take_a_dead_or_an_excluded_token() {
        let mut graph = Graph::new();
        let cache = ragged(&mut graph);
        // The dead tokens of the second head have the best scores.
        let scores = vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 99.0, f32::INFINITY];
        let scores = graph.constant(HostTensor::f32([1, 2, 6], scores));
        let marks = graph.constant(HostTensor::u32([1, 2, 6], vec![0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0]));
        let always = AlwaysKept { marks: Some(marks), ..AlwaysKept::NOTHING };
        let ada = AdaKV { budget: CacheBudget::Share(0.5), safeguard: 0.4, always };
        let kept = ada.build(&mut graph, &cache, scores).unwrap();
        // Five in all, one of the first head at least; the excluded one not.
        assert_eq!(left(&mut graph, &kept), [vec![4, 5], vec![0, 1, 2]]);
    }

    #[test]
    fn budgets_in_bytes_and_tokens() {
        let mut graph = Graph::new();
        let keys = graph.input("keys", [1, 4, 100, 8], Elem::F16);
        let values = graph.input("values", [1, 4, 100, 24], Elem::F32);
        let cache = Cache::new(&mut graph, keys, values).unwrap();
        // A token of all heads takes 4 (16 + 96) bytes.
        assert_eq!([447, 448, 4480, u64::MAX].map(|bytes| CacheBudget::Bytes(bytes).count(&cache, 100)), [0, 1, 10, 100]);
        assert_eq!([0, 7, 101].map(|tokens| CacheBudget::Tokens(tokens).count(&cache, 100)), [0, 7, 100]);
        // In kvpress's order, in f64.
        assert_eq!([(10, 0.9), (100, 0.9), (1000, 0.7)].map(|(n, ratio)| CacheBudget::Share(1.0 - ratio).count(&cache, n)), [0, 9, 300]);
    }

    #[test]
    fn what_is_wrong_has_a_name() {
        let mut graph = Graph::new();
        let cache = ragged(&mut graph);
        let scores = key_norm(&mut graph, &cache).unwrap();
        let queries = graph.input("queries", [1, 4, 2, 1], Elem::F32);
        let odd = graph.input("odd", [1, 3, 2, 1], Elem::F32);
        let argument = |error: Error| match error {
            Error::Value { argument, .. } | Error::Shape { argument, .. } | Error::Elem { argument, .. } => argument,
            other => panic!("{other}"),
        };
        let mut wrong = Vec::new();
        let base = Evict::UNPROTECTED;
        wrong.push(Evict { budget: CacheBudget::Share(1.5), ..base }.build(&mut graph, &cache, scores).unwrap_err());
        wrong.push(base.build(&mut graph, &cache, queries).unwrap_err());
        wrong.push(base.build(&mut graph, &cache, cache.positions).unwrap_err());
        let ada = AdaKV { budget: base.budget, safeguard: -0.1, always: base.always };
        wrong.push(ada.build(&mut graph, &cache, scores).unwrap_err());
        let chunks = ChunkKV { chunk: 2, budget: base.budget, always: base.always };
        wrong.push(ChunkKV { chunk: 0, ..chunks }.build(&mut graph, &cache, scores).unwrap_err());
        let marked = AlwaysKept { marks: Some(cache.positions), ..AlwaysKept::NOTHING };
        wrong.push(ChunkKV { always: marked, ..chunks }.build(&mut graph, &cache, scores).unwrap_err());
        wrong.push(SnapKV { kernel: 4, ..SnapKV::AUTHORS }.build(&mut graph, &cache, queries).unwrap_err());
        wrong.push(SnapKV { rows: RowReduction::Max, ..SnapKV::AUTHORS }.build(&mut graph, &cache, queries).unwrap_err());
        wrong.push(SnapKV { group: HeadReduction::None, ..SnapKV::AUTHORS }.build(&mut graph, &cache, queries).unwrap_err());
        wrong.push(SnapKV::AUTHORS.build(&mut graph, &cache, odd).unwrap_err());
        let max = ObservedAttention { rows: RowReduction::Max, ..ObservedAttention::H2O };
        wrong.push(max.build(&mut graph, &cache, queries, None).unwrap_err());
        wrong.push(LagKV { lag: 0, ..LagKV::default() }.build(&mut graph, &cache).unwrap_err());
        wrong.push(Cache { lengths: cache.positions, ..cache }.compact_positions(&mut graph, &rope()).unwrap_err());
        wrong.push(Cache::new(&mut graph, cache.positions, scores).unwrap_err());
        let names: Vec<_> = wrong.into_iter().map(argument).collect();
        let expected = [
            "cache: share",
            "evict: scores",
            "evict: scores",
            "ada_kv: safeguard",
            "chunk_kv: chunk",
            "chunk_kv: always",
            "snapkv: kernel",
            "snapkv: rows",
            "snapkv: group",
            "cache: queries",
            "observed attention: rows",
            "lagkv: lag",
            "cache: lengths",
            "cache: keys",
        ];
        assert_eq!(names, expected);
    }

    fn rope() -> crate::kernels::Rope {
        crate::kernels::Rope::new(10_000.0, 0, crate::kernels::RotaryPairs::Half)
    }
}
