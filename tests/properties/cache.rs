//! What holds for every eviction from a cache of keys and values, by any score.

use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;
use tokenpress::kernels::{
    Attention, AttentionInputs, AttentionScore, HeadReduction, Norm, Queries, QueryKeyValue, Rope, RotaryPairs, RowReduction, gather_rows,
};
use tokenpress::methods::{
    AdaKV, AlwaysKept, Cache, CacheBudget, ChunkKV, Evict, Evicted, ExpectedAttention, LagKV, ObservedAttention, Smoothing, SnapKV,
    key_diff, key_norm, random_scores, recency, tova,
};
use tokenpress::{Error, Graph, HostTensor, NONE, Tensor};

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
    // Every token as good as any other.
    |graph, cache, _| {
        let shape = cache.positions.shape();
        Ok(graph.constant(HostTensor::f32(shape, vec![f32::INFINITY; shape.elements() as usize])))
    },
];

type Method = fn(&mut Graph, &Cache, Tensor, CacheBudget, AlwaysKept) -> Result<Evicted, Error>;

const METHODS: &[(&str, Method)] = &[
    ("evict", |graph, cache, scores, budget, always| Evict { budget, always }.build(graph, cache, scores)),
    ("ada_kv", |graph, cache, scores, budget, always| AdaKV { budget, safeguard: 0.3, always }.build(graph, cache, scores)),
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
        0..if self.by_head { 2 } else { 3 }
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
