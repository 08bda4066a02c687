//! What holds for every eviction from a cache of keys and values, by any score.

use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;
use tokenpress::kernels::{
    Attention, AttentionInputs, AttentionScore, HeadReduction, Norm, Queries, QueryKeyValue, Rope, RotaryPairs, RowReduction, gather_rows,
};
use tokenpress::methods::{
    AdaKV, AlwaysKept, Cache, CacheBudget, ChunkKV, CriticalKV, Evict, Evicted, ExpectedAttention, LagKV, MergeEvicted, MergeRule,
    MergeThreshold, ObservedAttention, Quest, RKV, Smoothing, SnapKV, TopP, key_diff, key_norm, q_filter, random_scores, recency, tova,
};
use tokenpress::{Elem, Error, Graph, HostTensor, NONE, Tensor};

use crate::support::data;
use crate::{Feed, Side, batch_row, normal, row_bytes};

type Score = fn(&mut Graph, &Cache, Tensor) -> Result<Tensor, Error>;

const SCORES: &[Score] = &[
    |graph, cache, _| random_scores(graph, cache, 7),
    |graph, cache, _| recency(graph, cache),
    |graph, cache, _| key_norm(graph, cache),
    |graph, cache, _| key_diff(graph, cache),
    tova,
    |graph, cache, queries| SnapKV { window: 4, ..SnapKV::KVPRESS }.build(graph, cache, queries),
    |graph, cache, queries| {
        let snap = SnapKV { window: 2, kernel: 7, smoothing: Smoothing::Maximum, group: HeadReduction::Max, ..SnapKV::AUTHORS };
        snap.build(graph, cache, queries)
    },
    |graph, cache, queries| ObservedAttention::H2O.build(graph, cache, queries, None),
    |graph, cache, queries| ObservedAttention::KVPRESS.build(graph, cache, queries, None),
    |graph, cache, _| LagKV { sinks: 1, lag: 4, across: false }.build(graph, cache),
    |graph, cache, queries| {
        let depth = cache.keys.shape().dims()[3];
        let rope = Rope::new(10_000.0, depth, RotaryPairs::Half);
        ExpectedAttention { future: 9, sinks: 2, ..ExpectedAttention::new(rope) }.build(graph, cache, queries, None)
    },
    |graph, cache, _| {
        let shape = cache.keys.shape();
        let filters = weights(5, [shape.dims()[1], shape.dims()[3]], cache.keys.elem());
        let filters = graph.constant(filters);
        q_filter(graph, cache, filters)
    },
    |graph, cache, queries| {
        let (heads, width) = (queries.shape().dims()[1], cache.values.shape().dims()[3]);
        let weights = graph.constant(weights(6, [heads, 3, width], cache.values.elem()));
        let scores = ObservedAttention::H2O.build(graph, cache, queries, None)?;
        CriticalKV::new(CacheBudget::Share(0.5)).build(graph, cache, scores, weights)
    },
    |graph, cache, queries| RKV { window: 2, kernel: 3, ..RKV::default() }.build(graph, cache, queries),
    // Every token as good as any other.
    |graph, cache, _| {
        let shape = cache.positions.shape();
        Ok(graph.constant(HostTensor::f32(shape, vec![f32::INFINITY; shape.elements() as usize])))
    },
];

/// What a model brings along.
fn weights<const N: usize>(seed: u64, shape: [u32; N], elem: Elem) -> HostTensor {
    data::tensor(shape, elem, &data::normal(seed, shape.iter().product::<u32>() as usize))
}

type Method = fn(&mut Graph, &Cache, Tensor, CacheBudget, AlwaysKept) -> Result<Evicted, Error>;

const METHODS: &[(&str, Method)] = &[
    ("evict", |graph, cache, scores, budget, always| Evict { budget, always }.build(graph, cache, scores)),
    ("ada_kv", |graph, cache, scores, budget, always| AdaKV { budget, safeguard: 0.3, always }.build(graph, cache, scores)),
    // The share is the budget's, so that a whole one is a whole one.
    ("top_p", |graph, cache, scores, budget, always| {
        let share = if let CacheBudget::Share(share) = budget { share } else { 0.5 };
        TopP { share, most: CacheBudget::Share(1.0), always }.build(graph, cache, scores)
    }),
    ("chunk_kv", |graph, cache, scores, budget, always| ChunkKV { chunk: 3, budget, always }.build(graph, cache, scores)),
];

#[derive(Debug, Clone)]
pub struct Caches {
    batch: u32,
    heads: u32,
    group: u32,
    tokens: u32,
    depth: u32,
    queries: u32,
    score: usize,
    /// Of the tokens that stay, sixteenths.
    share: u32,
    sinks: u32,
    recent: u32,
    /// Whether heads of a batch row differ in length.
    by_head: bool,
    pairs: RotaryPairs,
    seed: u64,
}

pub fn caches() -> impl Strategy<Value = Caches> {
    let sizes = (1u32..4, 1u32..4, 1u32..3, 1u32..41, 1u32..7, 1u32..9);
    let options = (0..SCORES.len(), 0u32..17, 0u32..4, 0u32..5, any::<bool>(), any::<bool>(), any::<u64>());
    (sizes, options).prop_map(|((batch, heads, group, tokens, pairs, queries), (score, share, sinks, recent, by_head, half, seed))| {
        Caches {
            batch,
            heads,
            group,
            tokens,
            depth: 2 * pairs,
            queries: queries.min(tokens),
            score,
            share,
            sinks,
            recent,
            by_head,
            pairs: if half { RotaryPairs::Half } else { RotaryPairs::Interleaved },
            seed,
        }
    })
}

/// Tensors of a cache and its queries.
struct Given {
    keys: HostTensor,
    values: HostTensor,
    queries: HostTensor,
    lengths: HostTensor,
}

/// A cache in a graph.
struct Fed {
    feed: Feed,
    cache: Cache,
    queries: Tensor,
}

impl Caches {
    fn given(&self) -> Given {
        let &Self { batch, heads, group, tokens, depth, queries, seed, .. } = self;
        let mut lengths = data::integers(seed, (batch * heads) as usize, tokens + 2);
        if !self.by_head {
            (0..lengths.len()).for_each(|i| lengths[i] = lengths[i - i % heads as usize]);
        }
        // What is dead is broken.
        let spoiled = |seed: u64, width: u32| {
            let mut values = normal(seed, [batch, heads, tokens, width], 1.0).floats();
            for (row, length) in values.chunks_mut((tokens * width) as usize).zip(&lengths) {
                row.get_mut((length * width) as usize..).unwrap_or_default().fill(f32::NAN);
            }
            HostTensor::f32([batch, heads, tokens, width], values)
        };
        Given {
            keys: spoiled(seed ^ 1, depth),
            values: spoiled(seed ^ 2, 3),
            queries: normal(seed ^ 3, [batch, heads * group, queries, depth], 1.0),
            lengths: HostTensor::u32([batch, heads], lengths),
        }
    }

    fn feed(&self, given: &Given) -> Fed {
        let mut feed = Feed::default();
        let keys = feed.input("keys", given.keys.clone());
        let values = feed.input("values", given.values.clone());
        let queries = feed.input("queries", given.queries.clone());
        let lengths = feed.input("lengths", given.lengths.clone());
        let cache = Cache::ragged(&mut feed.graph, keys, values, lengths).expect("shapes agree");
        Fed { feed, cache, queries }
    }

    fn budget(&self) -> CacheBudget {
        CacheBudget::Share(f64::from(self.share) / 16.0)
    }

    fn always(&self) -> AlwaysKept {
        AlwaysKept { sinks: self.sinks, recent: self.recent, marks: None }
    }

    fn score(&self, fed: &mut Fed) -> Tensor {
        SCORES[self.score](&mut fed.feed.graph, &fed.cache, fed.queries).expect("shapes agree")
    }

    fn evicted(&self, method: usize, fed: &mut Fed) -> Evicted {
        let scores = self.score(fed);
        METHODS[method].1(&mut fed.feed.graph, &fed.cache, scores, self.budget(), self.always()).expect("shapes agree")
    }

    /// Methods that may be asked: chunks are the same in all heads.
    fn methods(&self) -> std::ops::Range<usize> {
        0..if self.by_head { 3 } else { 4 }
    }

    fn live(&self, given: &Given, row: usize) -> u32 {
        given.lengths.integers()[row].min(self.tokens)
    }
}

fn outputs(feed: &mut Feed, evicted: &Evicted) {
    for (name, tensor) in [
        ("keys'", evicted.cache.keys),
        ("values'", evicted.cache.values),
        ("positions", evicted.cache.positions),
        ("lengths'", evicted.cache.lengths),
        ("parent", evicted.map.parent),
    ] {
        feed.output(name, tensor);
    }
}

/// 1: attention over what is left is that over the whole cache without what went.
pub fn attention_over_what_is_left_hides_the_rest(case: Caches, side: Side<'_>) -> TestCaseResult {
    let given = case.given();
    for method in case.methods() {
        let mut fed = case.feed(&given);
        let evicted = case.evicted(method, &mut fed);
        let Fed { mut feed, cache, queries } = fed;
        let &Caches { batch, heads, group, tokens, depth, queries: count, .. } = &case;
        let rows = batch * heads;
        let graph = &mut feed.graph;
        let queries = graph.reshape(queries, [rows, group, count, depth]).expect("as many");
        // As many queries as keys are all live even so.
        let all = graph.constant(HostTensor::u32([rows], vec![count; rows as usize]));
        let attend = |graph: &mut Graph, cache: &Cache, bias: Option<Tensor>| {
            let n = cache.keys.shape().dims()[2];
            let inputs = QueryKeyValue {
                queries,
                keys: graph.reshape(cache.keys, [rows, 1, n, depth])?,
                values: graph.reshape(cache.values, [rows, 1, n, 3])?,
                bias,
                lengths: Some(graph.reshape(cache.lengths, [rows])?),
                query_lengths: Some(all),
            };
            Ok::<_, Error>(Attention::default().build(graph, inputs)?.rows)
        };
        let left = attend(graph, &evicted.cache, None).expect("shapes agree");
        let room = evicted.cache.keys.shape().dims()[2];
        let seen = graph.constant(HostTensor::f32([rows, room], vec![0.0; (rows * room) as usize]));
        let hidden = graph.constant(HostTensor::f32([rows, tokens], vec![f32::NEG_INFINITY; (rows * tokens) as usize]));
        let bias = gather_rows(graph, seen, evicted.map.parent, Some(hidden)).expect("shapes agree");
        let bias = graph.reshape(bias, [rows, 1, 1, tokens]).expect("as many");
        let whole = attend(graph, &cache, Some(bias)).expect("shapes agree");
        feed.output("left", left);
        feed.output("whole", whole);
        let out = feed.run(side);
        for (a, b) in out["left"].floats().iter().zip(out["whole"].floats()) {
            prop_assert!((a - b).abs() <= 1e-5, "{}: {a} {b}", METHODS[method].0);
        }
    }
    Ok(())
}

/// 2: each batch row is as if alone, whatever lies behind its lengths.
pub fn a_row_of_caches_is_as_it_is_alone(case: Caches, side: Side<'_>) -> TestCaseResult {
    let given = case.given();
    for method in case.methods() {
        let mut fed = case.feed(&given);
        let score = case.score(&mut fed);
        let evicted = case.evicted(method, &mut fed);
        fed.feed.output("score", score);
        outputs(&mut fed.feed, &evicted);
        let together = fed.feed.run(side);
        for b in 0..case.batch as usize {
            let heads = case.heads as usize;
            let lengths = given.lengths.integers()[b * heads..][..heads].to_vec();
            let single = Given {
                keys: batch_row(&given.keys, b),
                values: batch_row(&given.values, b),
                queries: batch_row(&given.queries, b),
                lengths: HostTensor::u32([1, case.heads], lengths),
            };
            let mut fed = Caches { batch: 1, ..case.clone() }.feed(&single);
            let score = case.score(&mut fed);
            let evicted = case.evicted(method, &mut fed);
            fed.feed.output("score", score);
            outputs(&mut fed.feed, &evicted);
            let alone = fed.feed.run(side);
            for (name, value) in &alone {
                // A map has a row for each head.
                let same = if name == "parent" {
                    let len = value.bytes().len();
                    &together[name].bytes()[b * len..][..len]
                } else {
                    row_bytes(&together[name], b)
                };
                prop_assert!(same == value.bytes(), "{}: {name} of row {b}", METHODS[method].0);
            }
        }
    }
    Ok(())
}

/// 3: sinks and latest tokens stay, whatever the scores and the budget; what stays is in order.
pub fn sinks_and_latest_tokens_stay(case: Caches, side: Side<'_>) -> TestCaseResult {
    let given = case.given();
    for method in case.methods() {
        let mut fed = case.feed(&given);
        let evicted = case.evicted(method, &mut fed);
        outputs(&mut fed.feed, &evicted);
        let out = fed.feed.run(side);
        let positions = out["positions"].integers();
        let room = out["positions"].shape().dims()[2] as usize;
        for row in 0..(case.batch * case.heads) as usize {
            let live = case.live(&given, row);
            let left = out["lengths'"].integers()[row] as usize;
            prop_assert!(left <= room && left <= live as usize);
            let kept = &positions[row * room..][..left];
            prop_assert!(kept.windows(2).all(|pair| pair[0] < pair[1]) && kept.iter().all(|position| *position < live));
            let always = (0..case.sinks.min(live)).chain(live.saturating_sub(case.recent)..live);
            for position in always {
                prop_assert!(kept.contains(&position), "{}: {position} of {live} in {kept:?}", METHODS[method].0);
            }
            prop_assert!(positions[row * room + left..][..room - left].iter().all(|position| *position == NONE));
            let own = (f64::from(live) * f64::from(case.share) / 16.0) as u32;
            if method == 0 {
                prop_assert_eq!(left as u32, own.max((case.sinks + case.recent).min(live)));
            }
        }
    }
    Ok(())
}

/// 4: nothing goes where the budget is all.
pub fn a_whole_budget_is_the_identity(case: Caches, side: Side<'_>) -> TestCaseResult {
    let given = case.given();
    let case = Caches { share: 16, ..case };
    for method in case.methods() {
        let mut fed = case.feed(&given);
        let evicted = case.evicted(method, &mut fed);
        let rope = Rope::new(10_000.0, case.depth, case.pairs);
        let compact = evicted.cache.compact_positions(&mut fed.feed.graph, &rope).expect("shapes agree");
        outputs(&mut fed.feed, &evicted);
        fed.feed.output("compact", compact.keys);
        let out = fed.feed.run(side);
        for row in 0..(case.batch * case.heads) as usize {
            let live = case.live(&given, row);
            prop_assert_eq!(out["lengths'"].integers()[row], live);
            let parent = &out["parent"].integers()[row * case.tokens as usize..][..live as usize];
            prop_assert!(parent.iter().copied().eq(0..live));
            for (name, old, width) in
                [("keys'", &given.keys, case.depth), ("values'", &given.values, 3), ("compact", &given.keys, case.depth)]
            {
                let (room, of_row) = (out[name].shape().dims()[2] as usize, (live * width) as usize);
                let new = &out[name].floats()[row * room * width as usize..][..of_row];
                let old = &old.floats()[row * (case.tokens * width) as usize..][..of_row];
                prop_assert!(new.iter().zip(old).all(|(a, b)| a.to_bits() == b.to_bits()), "{}: {name}", METHODS[method].0);
            }
        }
    }
    Ok(())
}

/// 5: two evictions are one, as maps and as caches.
pub fn evictions_compose(case: Caches, side: Side<'_>) -> TestCaseResult {
    let given = case.given();
    for method in case.methods() {
        let mut fed = case.feed(&given);
        let scores = case.score(&mut fed);
        let first = case.evicted(method, &mut fed);
        let graph = &mut fed.feed.graph;
        let kept = first.gather(graph, scores).expect("shapes agree");
        let second = METHODS[method].1(graph, &first.cache, kept, CacheBudget::Share(0.5), case.always()).expect("shapes agree");
        let both = first.then(graph, &second).expect("shapes agree");
        let at_once = fed.cache.keep(graph, both.map).expect("shapes agree");
        fed.feed.output("parent", both.map.parent);
        for (name, tensor) in [("keys", 0), ("values", 1), ("positions", 2)] {
            let of = |cache: &Cache| [cache.keys, cache.values, cache.positions][tensor];
            fed.feed.output(&format!("{name} 1"), of(&second.cache));
            fed.feed.output(&format!("{name} 2"), of(&at_once.cache));
        }
        let out = fed.feed.run(side);
        for name in ["keys", "values", "positions"] {
            prop_assert!(out[&format!("{name} 1")].bytes() == out[&format!("{name} 2")].bytes(), "{}: {name}", METHODS[method].0);
        }
        // Positions were 0, 1, 2 ..: they are the map's representatives.
        let positions = &out["positions 1"];
        let room = positions.shape().dims()[2] as usize;
        for (row, parents) in out["parent"].integers().chunks(case.tokens as usize).enumerate() {
            for (old, parent) in parents.iter().enumerate().filter(|(_, parent)| **parent != NONE) {
                prop_assert_eq!(positions.integers()[row * room + *parent as usize], old as u32);
            }
        }
    }
    Ok(())
}

/// 6: keys that move and move back are what they were.
pub fn moving_back_undoes_moving(case: Caches, side: Side<'_>) -> TestCaseResult {
    let given = case.given();
    for method in case.methods() {
        let mut fed = case.feed(&given);
        let evicted = case.evicted(method, &mut fed);
        let rope = Rope::new(10_000.0, case.depth, case.pairs);
        let graph = &mut fed.feed.graph;
        let compact = evicted.cache.compact_positions(graph, &rope).expect("shapes agree");
        let back = compact.move_to(graph, &rope, evicted.cache.positions).expect("shapes agree");
        fed.feed.output("before", evicted.cache.keys);
        fed.feed.output("after", back.keys);
        let out = fed.feed.run(side);
        for (a, b) in out["before"].floats().iter().zip(out["after"].floats()) {
            // Two turns of a pair of at most about 8, each to 1e-6 of it.
            prop_assert!((a - b).abs() <= 2e-5, "{a} {b}");
        }
    }
    Ok(())
}

/// 7: logits depend on distances alone, also after keys have moved.
pub fn logits_depend_on_distances_alone(case: Caches, side: Side<'_>) -> TestCaseResult {
    let given = case.given();
    let &Caches { batch, heads, group, tokens, depth, queries: count, .. } = &case;
    let (rows, shift) = (batch * heads, case.seed as u32 >> 1);
    let mut fed = case.feed(&given);
    let rope = Rope::new(10_000.0, depth, case.pairs);
    for (name, start) in [("near", 0), ("far", shift)] {
        let graph = &mut fed.feed.graph;
        let positions: Vec<u32> = (0..rows * tokens).map(|i| start + i % tokens).collect();
        let positions = graph.constant(HostTensor::u32([batch, heads, tokens], positions));
        let moved = fed.cache.move_to(graph, &rope, positions).expect("shapes agree");
        let queries = graph.reshape(fed.queries, [rows, group * count, depth]).expect("as many");
        let at: Vec<u32> = (0..rows * group * count).map(|i| start + tokens + i % count).collect();
        let at = graph.constant(HostTensor::u32([rows, group * count], at));
        let queries = rope.rotate(graph, queries, None, at, None).expect("shapes agree");
        let inputs = AttentionInputs {
            lengths: Some(graph.reshape(moved.lengths, [rows]).expect("as many")),
            ..AttentionInputs::new(
                graph.reshape(queries, [rows, group, count, depth]).expect("as many"),
                graph.reshape(moved.keys, [rows, 1, tokens, depth]).expect("as many"),
            )
        };
        let logits = AttentionScore {
            queries: Queries::All,
            norm: Norm::Logits,
            rows: RowReduction::None,
            heads: HeadReduction::None,
            ..AttentionScore::default()
        };
        let logits = logits.build(graph, inputs).expect("shapes agree").score;
        fed.feed.output(name, logits);
    }
    let out = fed.feed.run(side);
    for (a, b) in out["near"].floats().iter().zip(out["far"].floats()) {
        // Up to 12 channels of up to about 4 on either side; angles in the table are right to 1e-6 rad.
        prop_assert!((a - b).abs() <= 5e-4, "{a} {b}");
    }
    Ok(())
}

/// What is said to be forgotten is what attention in f64 over both caches differs by.
pub fn what_is_forgotten_is_what_attention_lost(case: Caches, side: Side<'_>) -> TestCaseResult {
    let given = case.given();
    let &Caches { batch, heads, group, tokens, depth, queries: count, .. } = &case;
    for method in case.methods() {
        let mut fed = case.feed(&given);
        let evicted = case.evicted(method, &mut fed);
        let lost = evicted.forgotten(&mut fed.feed.graph, &fed.cache, fed.queries).expect("shapes agree");
        fed.feed.output("parent", evicted.map.parent);
        for (name, tensor) in [("share", lost.share), ("change", lost.change), ("norm", lost.norm)] {
            fed.feed.output(name, tensor);
        }
        let out = fed.feed.run(side);
        let (keys, values, queries) = (given.keys.floats(), given.values.floats(), given.queries.floats());
        for place in 0..(batch * heads * group * count) as usize {
            let (i, head) = (place % count as usize, place / count as usize);
            let row = head / group as usize;
            let live = case.live(&given, row) as usize;
            // The queries are the last ones.
            let seen = (live + i + 1).saturating_sub(count as usize).min(live);
            let query = &queries[place * depth as usize..][..depth as usize];
            let key = |j: usize| &keys[(row * tokens as usize + j) * depth as usize..][..depth as usize];
            let value = |j: usize| &values[(row * tokens as usize + j) * 3..][..3];
            let logit = |j: usize| {
                let dot: f64 = query.iter().zip(key(j)).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
                dot / f64::from(depth).sqrt()
            };
            let most = (0..seen).map(logit).fold(f64::NEG_INFINITY, f64::max);
            let gone = |j: usize| out["parent"].integers()[row * tokens as usize + j] == NONE;
            let over = |counts: &dyn Fn(usize) -> bool| {
                let weights: Vec<f64> = (0..seen).map(|j| if counts(j) { (logit(j) - most).exp() } else { 0.0 }).collect();
                let sum: f64 = weights.iter().sum();
                let mean = |c: usize| (0..seen).map(|j| weights[j] * f64::from(value(j)[c])).sum::<f64>() / sum.max(f64::MIN_POSITIVE);
                (sum, [0, 1, 2].map(mean))
            };
            let ((all, before), (left, after)) = (over(&|_| true), over(&|j| !gone(j)));
            let length = |x: [f64; 3]| x.iter().map(|x| x * x).sum::<f64>().sqrt();
            let share = if seen == 0 { 0.0 } else { 1.0 - left / all };
            let exact = [share, length([0, 1, 2].map(|c| after[c] - before[c])), length(before)];
            for (name, exact) in ["share", "change", "norm"].into_iter().zip(exact) {
                let actual = f64::from(out[name].floats()[place]);
                prop_assert!((actual - exact).abs() <= 2e-5, "{}: {name} {actual} {exact}", METHODS[method].0);
            }
        }
    }
    Ok(())
}

/// What was evicted goes into the most similar key, as the rule in f64 has it.
pub fn what_went_is_merged_by_the_rule(case: Caches, side: Side<'_>) -> TestCaseResult {
    let given = case.given();
    let &Caches { batch, heads, tokens, depth, seed, .. } = &case;
    let (n, depth) = (tokens as usize, depth as usize);
    let (keys, values) = (given.keys.floats(), given.values.floats());
    for rule in [MergeRule::Pivot, MergeRule::Similarity, MergeRule::Scaled, MergeRule::ValueNorm] {
        let previous = 0.4;
        let mut fed = case.feed(&given);
        let evicted = case.evicted(0, &mut fed);
        let graph = &mut fed.feed.graph;
        let threshold = match seed % 4 {
            0 => MergeThreshold::All,
            1 => MergeThreshold::AtLeast(0.1),
            2 => MergeThreshold::Mean,
            _ => MergeThreshold::Smoothed(graph.constant(HostTensor::f32([batch, heads], vec![previous; (batch * heads) as usize]))),
        };
        let merged = MergeEvicted { rule, threshold }.build(graph, &fed.cache, &evicted).expect("shapes agree");
        fed.feed.output("before", evicted.map.parent);
        fed.feed.output("representative", evicted.map.representative);
        fed.feed.output("parent", merged.evicted.map.parent);
        fed.feed.output("threshold", merged.threshold);
        fed.feed.output("keys'", merged.evicted.cache.keys);
        fed.feed.output("values'", merged.evicted.cache.values);
        let out = fed.feed.run(side);
        let room = out["keys'"].shape().dims()[2] as usize;
        for row in 0..(batch * heads) as usize {
            let live = case.live(&given, row) as usize;
            let of = |name: &str, width: usize| out[name].integers()[row * width..][..width].to_vec();
            let (before, parent, kept) = (of("before", n), of("parent", n), of("representative", room));
            let kept: Vec<usize> = kept.into_iter().filter(|j| *j != NONE).map(|j| j as usize).collect();
            let token = |x: &[f32], width: usize, j: usize| -> Vec<f64> {
                x[(row * n + j) * width..][..width].iter().map(|x| f64::from(*x)).collect()
            };
            let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
            let cosine = |a: usize, b: usize| {
                let (a, b) = (token(&keys, depth, a), token(&keys, depth, b));
                dot(&a, &b) / (dot(&a, &a) * dot(&b, &b)).sqrt()
            };
            let went: Vec<usize> = (0..live).filter(|j| before[*j] == NONE).collect();
            let best = |x: usize| kept.iter().map(|t| cosine(x, *t)).fold(f64::NEG_INFINITY, f64::max);
            let mean = went.iter().map(|x| best(*x)).sum::<f64>() / went.len().max(1) as f64;
            let limit = match seed % 4 {
                0 => f64::NEG_INFINITY,
                1 => 0.1,
                2 => mean,
                _ => 0.5 * f64::from(previous) + 0.5 * mean,
            };
            if seed % 4 > 0 && !kept.is_empty() {
                prop_assert!((f64::from(out["threshold"].floats()[row]) - limit).abs() < 1e-5);
            }
            for &x in &went {
                match parent[x] {
                    NONE => prop_assert!(kept.is_empty() || best(x) < limit + 1e-5),
                    t => {
                        prop_assert!(best(x) > limit - 1e-5);
                        prop_assert!(cosine(x, kept[t as usize]) > best(x) - 1e-5);
                    }
                }
            }
            for (new, &t) in kept.iter().enumerate() {
                prop_assert_eq!(parent[t], new as u32);
                let members: Vec<usize> = went.iter().copied().filter(|x| parent[*x] == new as u32).collect();
                for (name, source, width) in [("keys'", &keys, depth), ("values'", &values, 3)] {
                    let own = token(source, width, t);
                    let length = |j: usize| dot(&token(&values, 3, j), &token(&values, 3, j)).sqrt();
                    let weight = |x: usize| match rule {
                        MergeRule::Pivot => 0.5,
                        MergeRule::Similarity => (0.5 * cosine(x, t) + 0.5).max(1e-6),
                        MergeRule::Scaled => cosine(x, t),
                        MergeRule::ValueNorm if name == "keys'" => 0.0,
                        MergeRule::ValueNorm => cosine(x, t).max(0.0) * length(x) / (length(x) + length(t) + 1e-6),
                    };
                    let number = members.len() as f64;
                    let weights: f64 = members.iter().map(|x| weight(*x)).sum();
                    let (of_own, all) = match rule {
                        MergeRule::Pivot => (1.0 + number / 2.0, 1.0 + number),
                        MergeRule::Scaled => (1.0, 1.0 + number),
                        _ => (1.0, 1.0 + weights),
                    };
                    for (c, own) in own.iter().enumerate() {
                        let sum: f64 = members.iter().map(|x| weight(*x) * token(source, width, *x)[c]).sum();
                        let exact = (of_own * own + sum) / all;
                        let actual = out[name].floats()[(row * room + new) * width + c];
                        let bound = if members.is_empty() { 0.0 } else { 1e-4 };
                        prop_assert!((f64::from(actual) - exact).abs() <= bound, "{rule:?}: {name} {actual} {exact}");
                    }
                }
            }
        }
    }
    Ok(())
}

/// A step that appends, adds up attention and evicts to the same room, several times: what is left is what the reference of whole lists has.
pub fn steps_are_as_of_a_cache_that_never_moved(case: Caches, side: Side<'_>) -> TestCaseResult {
    let &Caches { batch, heads, group, tokens, depth, seed, .. } = &case;
    let (rows, room, steps) = ((batch * heads) as usize, tokens as usize, 3);
    let given = case.given();
    let mut lengths = given.lengths.integers().to_vec();
    lengths.iter_mut().for_each(|length| *length = (*length).min(tokens));
    // Every head's tokens, by their numbers; the positions are those of all that ever came.
    let mut lists: Vec<Vec<(u32, f64)>> = lengths.iter().map(|length| (0..*length).map(|j| (j, 0.0)).collect()).collect();
    let mut state = [given.keys.clone(), given.values.clone(), HostTensor::f32([batch, heads, tokens], vec![0.0; rows * room])];
    let mut places = [
        HostTensor::u32([batch, heads], lengths),
        HostTensor::u32([batch, heads, tokens], (0..tokens).cycle().take(rows * room).collect()),
    ];
    let mut all_keys: Vec<Vec<f32>> = given.keys.floats().chunks(room * depth as usize).map(<[f32]>::to_vec).collect();
    for step in 0..steps {
        let mut feed = Feed::default();
        let [keys, values, sums] = [("keys", 0), ("values", 1), ("sums", 2)].map(|(name, i)| feed.input(name, state[i].clone()));
        let [lengths, positions] = [("lengths", 0), ("positions", 1)].map(|(name, i)| feed.input(name, places[i].clone()));
        let own_seed = seed ^ (100 + step);
        let new = normal(own_seed, [batch, heads, 1, depth], 1.0);
        let queries = normal(own_seed ^ 7, [batch, heads * group, 1, depth], 1.0);
        let (new_keys, asked) = (feed.input("new keys", new.clone()), feed.input("queries", queries.clone()));
        let new_values = feed.input("new values", normal(own_seed ^ 9, [batch, heads, 1, 3], 1.0));
        let position = tokens + step as u32;
        let at = feed.input("at", HostTensor::u32([batch, 1], vec![position; batch as usize]));
        let graph = &mut feed.graph;
        let before = Cache { keys, values, lengths, positions };
        let cache = before.append(graph, new_keys, new_values, at).expect("shapes agree");
        let sums = before.append_scores(graph, sums, 1).expect("shapes agree");
        let sums = ObservedAttention::H2O.accumulate(graph, &cache, asked, sums).expect("shapes agree");
        let evict = Evict { budget: CacheBudget::Tokens(tokens), always: AlwaysKept { recent: 1, ..AlwaysKept::NOTHING } };
        let left = evict.build(graph, &cache, sums).expect("shapes agree");
        let sums = left.gather(graph, sums).expect("shapes agree");
        let outputs = [
            ("keys'", left.cache.keys),
            ("values'", left.cache.values),
            ("sums'", sums),
            ("lengths'", left.cache.lengths),
            ("positions'", left.cache.positions),
        ];
        for ((name, tensor), old) in outputs.iter().zip([keys, values, before.positions, lengths, positions]) {
            // The step's outputs are the next one's inputs.
            prop_assert_eq!(tensor.shape(), old.shape());
            feed.output(name, *tensor);
        }
        let out = feed.run(side);

        let d = depth as usize;
        for (row, list) in lists.iter_mut().enumerate() {
            all_keys[row].resize((position as usize + 1) * d, 0.0);
            all_keys[row][position as usize * d..][..d].copy_from_slice(&new.floats()[row * d..][..d]);
            list.push((position, 0.0));
            for g in 0..group as usize {
                let query = &queries.floats()[(row * group as usize + g) * d..][..d];
                let logit = |j: u32| {
                    let key = &all_keys[row][j as usize * d..][..d];
                    query.iter().zip(key).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>() / f64::from(depth).sqrt()
                };
                let logits: Vec<f64> = list.iter().map(|(j, _)| logit(*j)).collect();
                let most = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let total: f64 = logits.iter().map(|s| (s - most).exp()).sum();
                let each = list.iter_mut().zip(&logits);
                each.for_each(|((_, sum), s)| *sum += (s - most).exp() / total / f64::from(group));
            }
            let kept = out["positions'"].integers()[row * room..][..room].to_vec();
            let live = out["lengths'"].integers()[row] as usize;
            prop_assert_eq!(live, list.len().min(room));
            if list.len() > room {
                // The least goes; one that is as near as rounding may go for it. The newest stays.
                let least = list[..room].iter().map(|(_, sum)| *sum).fold(f64::INFINITY, f64::min);
                let gone = list.iter().position(|(j, _)| !kept.contains(j)).expect("one goes");
                prop_assert!(gone < room && list[gone].1 <= least + 1e-5, "{gone} of {list:?}");
                list.remove(gone);
            }
            for (place, (j, sum)) in list.iter().enumerate() {
                prop_assert_eq!(kept[place], *j);
                prop_assert!((f64::from(out["sums'"].floats()[row * room + place]) - sum).abs() <= 1e-5);
                let key = &out["keys'"].floats()[(row * room + place) * d..][..d];
                prop_assert!(key == &all_keys[row][*j as usize * d..][..d]);
            }
        }
        state = ["keys'", "values'", "sums'"].map(|name| out[name].clone());
        places = ["lengths'", "positions'"].map(|name| out[name].clone());
    }
    Ok(())
}

/// Quest attends to pages whose bounds are the best, and to nothing else; with room for all of them to everything.
pub fn a_query_attends_to_its_best_pages(case: Caches, side: Side<'_>) -> TestCaseResult {
    let case = Caches { queries: 1, ..case };
    let given = case.given();
    let &Caches { batch, heads, group, tokens, depth, share, seed, .. } = &case;
    let (n, d, g) = (tokens as usize, depth as usize, group as usize);
    let page = 1usize << (seed % 4);
    for reduction in [HeadReduction::None, HeadReduction::Max] {
        let quest = Quest { page: page as u32, budget: share * 3, least: 1, group: reduction };
        let mut fed = case.feed(&given);
        let graph = &mut fed.feed.graph;
        let bounds = quest.bounds(graph, &fed.cache).expect("shapes agree");
        let (pages, counts) = quest.choose(graph, &fed.cache, &bounds, fed.queries).expect("shapes agree");
        let attended = quest.attend(graph, &fed.cache, &bounds, fed.queries).expect("shapes agree");
        for (name, tensor) in [("pages", pages), ("counts", counts), ("rows", attended.rows)] {
            fed.feed.output(name, tensor);
        }
        let out = fed.feed.run(side);
        let (keys, values, queries) = (given.keys.floats(), given.values.floats(), given.queries.floats());
        let lists = out["pages"].shape().dims()[1] as usize;
        let room = out["pages"].shape().dims()[2] as usize;
        for head in 0..(batch * heads * group) as usize {
            let row = head / g;
            let live = case.live(&given, row) as usize;
            let key = |j: usize| &keys[(row * n + j) * d..][..d];
            let bound_of = |head: usize, p: usize| {
                let channel = |c: usize| {
                    let q = f64::from(queries[head * d + c]);
                    (p * page..live.min((p + 1) * page)).map(|j| q * f64::from(key(j)[c])).fold(f64::NEG_INFINITY, f64::max)
                };
                (0..d).map(channel).sum::<f64>()
            };
            let bound = |p: usize| match reduction {
                HeadReduction::None => bound_of(head, p),
                _ => (row * g..(row + 1) * g).map(|head| bound_of(head, p)).fold(f64::NEG_INFINITY, f64::max),
            };
            let count = out["counts"].integers()[row] as usize;
            let all = live.div_ceil(page);
            prop_assert_eq!(count, (share as usize * 3 / page).max(1).min(all));
            let list = &out["pages"].integers()[(row * lists + if lists == 1 { 0 } else { head % g }) * room..][..count];
            prop_assert!(list.windows(2).all(|pair| pair[0] < pair[1]));
            let least = list.iter().map(|p| bound(*p as usize)).fold(f64::INFINITY, f64::min);
            for p in (0..all).filter(|p| !list.contains(&(*p as u32))) {
                prop_assert!(bound(p) <= least + 1e-5);
            }
            let seen: Vec<usize> = list.iter().flat_map(|p| *p as usize * page..(*p as usize + 1) * page).filter(|j| *j < live).collect();
            let logit = |j: &usize| {
                let dot: f64 = (0..d).map(|c| f64::from(queries[head * d + c]) * f64::from(key(*j)[c])).sum();
                dot / f64::from(depth).sqrt()
            };
            let most = seen.iter().map(logit).fold(f64::NEG_INFINITY, f64::max);
            let total: f64 = seen.iter().map(|j| (logit(j) - most).exp()).sum();
            for c in 0..3 {
                let value = |j: &usize| (logit(j) - most).exp() / total * f64::from(values[(row * n + j) * 3 + c]);
                let exact: f64 = seen.iter().map(value).sum();
                prop_assert!((f64::from(out["rows"].floats()[head * 3 + c]) - exact).abs() <= 1e-5);
            }
        }
    }
    Ok(())
}
