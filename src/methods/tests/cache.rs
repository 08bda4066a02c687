//! Scores of caches beside second formulations in f64.

use super::video::video;
use crate::kernels::{Attention, PagedAttention, PagedInputs, QueryKeyValue};
use crate::methods::{AlwaysKept, CaM, Cache, CacheBudget, CriticalKV, Evict, RKV, ThinK, q_filter};
use crate::{Graph, HostTensor};

const BATCH: u32 = 2;
const HEADS: u32 = 2;
const GROUP: u32 = 3;
const TOKENS: u32 = 9;
const DEPTH: u32 = 8;
const LENGTHS: [u32; 4] = [9, 4, 0, 1];

fn cache(graph: &mut Graph) -> (Cache, Vec<Vec<f32>>) {
    let keys = video(3, [BATCH * HEADS, TOKENS, DEPTH]);
    let heads = keys.chunks((TOKENS * DEPTH) as usize).map(<[f32]>::to_vec).collect();
    let keys = graph.constant(HostTensor::f32([BATCH, HEADS, TOKENS, DEPTH], keys));
    let lengths = graph.constant(HostTensor::u32([BATCH, HEADS], LENGTHS.to_vec()));
    (Cache::ragged(graph, keys, keys, lengths).expect("shapes agree"), heads)
}

fn live(keys: &[f32], head: usize) -> impl Iterator<Item = &[f32]> {
    keys.chunks(DEPTH as usize).take(LENGTHS[head] as usize)
}

#[test]
fn a_filter_is_against_the_keys_that_point_its_way() {
    let mut graph = Graph::new();
    let (cache, heads) = cache(&mut graph);
    let filters = video(8, [1, HEADS, DEPTH]);
    let given = graph.constant(HostTensor::f32([HEADS, DEPTH], filters.clone()));
    let scores = q_filter(&mut graph, &cache, given).expect("shapes agree");
    graph.output("score", scores).expect("a new name");
    let scores = graph.run_reference(&[].into()).expect("a run")["score"].floats();
    for (head, (keys, actual)) in heads.iter().zip(scores.chunks(TOKENS as usize)).enumerate() {
        let filter = &filters[head % HEADS as usize * DEPTH as usize..][..DEPTH as usize];
        let product = |key: &[f32]| key.iter().zip(filter).map(|(k, f)| f64::from(*k) * f64::from(*f)).sum::<f64>();
        let mut expected: Vec<f64> = live(keys, head).map(|key| -product(key)).collect();
        expected.resize(TOKENS as usize, 0.0);
        for (actual, expected) in actual.iter().zip(expected) {
            assert!((f64::from(*actual) - expected).abs() < 1e-5, "{actual} {expected}, head {head}");
        }
    }
}

#[test]
fn channels_go_by_queries_and_keys_together() {
    let queries = video(5, [BATCH * HEADS, GROUP * 4, DEPTH]);
    for prune in [0.0, 0.3, 0.5, 1.0] {
        let mut graph = Graph::new();
        let (cache, heads) = cache(&mut graph);
        let asked = graph.constant(HostTensor::f32([BATCH, HEADS * GROUP, 4, DEPTH], queries.clone()));
        let pruned = ThinK { prune }.build(&mut graph, &cache, asked).expect("shapes agree");
        graph.output("keys'", pruned.cache.keys).expect("a new name");
        graph.output("kept", pruned.kept).expect("a new name");
        let out = graph.run_reference(&[].into()).expect("a run");
        let left = (DEPTH - (f64::from(DEPTH) * prune) as u32) as usize;
        for (head, keys) in heads.iter().enumerate() {
            let asked = queries[head * (GROUP * 4 * DEPTH) as usize..][..(GROUP * 4 * DEPTH) as usize].chunks(DEPTH as usize);
            let mean = |rows: &mut dyn Iterator<Item = &[f32]>, c: usize| {
                let squares: Vec<f64> = rows.map(|row| f64::from(row[c]).powi(2)).collect();
                squares.iter().sum::<f64>() / squares.len().max(1) as f64
            };
            let score: Vec<f64> = (0..DEPTH as usize).map(|c| mean(&mut asked.clone(), c) * mean(&mut live(keys, head), c)).collect();
            let mut best: Vec<usize> = (0..DEPTH as usize).collect();
            best.sort_by(|a, b| score[*b].total_cmp(&score[*a]));
            best.truncate(left);
            best.sort_unstable();
            let kept: Vec<usize> = out["kept"].integers()[head * left..][..left].iter().map(|c| *c as usize).collect();
            assert_eq!(kept, best, "head {head}, prune {prune}");
            for (i, (before, after)) in keys.iter().zip(&out["keys'"].floats()[head * keys.len()..]).enumerate() {
                let expected = if best.contains(&(i % DEPTH as usize)) { *before } else { 0.0 };
                assert_eq!(*after, expected);
            }
        }
    }
}

/// Scores of the heads, each of a key.
fn run(mut graph: Graph, scores: crate::Tensor) -> Vec<Vec<f32>> {
    graph.output("score", scores).expect("a new name");
    let scores = graph.run_reference(&[].into()).expect("a run")["score"].floats();
    scores.chunks(TOKENS as usize).map(<[f32]>::to_vec).collect()
}

fn assert_near(actual: &[f32], expected: &[f64], what: &str) {
    for (actual, expected) in actual.iter().zip(expected) {
        assert!(f64::from(*actual) == *expected || (f64::from(*actual) - expected).abs() < 2e-5, "{actual} {expected}, {what}");
    }
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}

fn softmax(logits: &[f64]) -> Vec<f64> {
    let sum: f64 = logits.iter().map(|s| s.exp()).sum();
    logits.iter().map(|s| s.exp() / sum).collect()
}

#[test]
fn values_count_as_what_they_do_to_the_output() {
    const CHANNELS: u32 = 5;
    for budget in [CacheBudget::Share(0.5), CacheBudget::Tokens(5)] {
        let mut graph = Graph::new();
        let (cache, heads) = cache(&mut graph);
        let base = video(4, [BATCH * HEADS, TOKENS, 1]);
        let weights = video(7, [HEADS * GROUP, CHANNELS, DEPTH]);
        let scores = graph.constant(HostTensor::f32([BATCH, HEADS, TOKENS], base.clone()));
        let given = graph.constant(HostTensor::f32([HEADS * GROUP, CHANNELS, DEPTH], weights.clone()));
        let critical = CriticalKV::new(budget).build(&mut graph, &cache, scores, given).expect("shapes agree");
        for (head, (keys, actual)) in heads.iter().zip(run(graph, critical)).enumerate() {
            let base = &base[head * TOKENS as usize..][..TOKENS as usize];
            let of_head = (GROUP * CHANNELS * DEPTH) as usize;
            let weights = &weights[head % HEADS as usize * of_head..][..of_head];
            let size = |value: &[f32]| weights.chunks(DEPTH as usize).map(|w| dot(w, value).abs()).sum::<f64>() / f64::from(GROUP);
            let mut expected: Vec<f64> = live(keys, head).zip(base).map(|(value, s)| (f64::from(*s) + 1e-4) * size(value)).collect();
            let count = match budget {
                CacheBudget::Share(share) => f64::from(LENGTHS[head]) * share,
                _ => f64::from(LENGTHS[head].min(5)),
            };
            let mut best: Vec<usize> = (0..expected.len()).collect();
            best.sort_by(|a, b| base[*b].total_cmp(&base[*a]));
            best.into_iter().take((count.floor() * 0.5) as usize).for_each(|token| expected[token] = f64::INFINITY);
            expected.resize(TOKENS as usize, 0.0);
            assert_near(&actual, &expected, &format!("head {head}, {budget:?}"));
        }
    }
}

#[test]
fn what_is_repeated_is_punished_but_for_the_last() {
    const WINDOW: usize = 2;
    let queries = video(5, [BATCH * HEADS, GROUP * WINDOW as u32, DEPTH]);
    for (importance, similarity) in [(0.07, 0.5), (0.5, 0.0), (1.0, 0.5), (0.0, -2.0)] {
        let mut graph = Graph::new();
        let (cache, heads) = cache(&mut graph);
        let asked = graph.constant(HostTensor::f32([BATCH, HEADS * GROUP, WINDOW as u32, DEPTH], queries.clone()));
        let options = RKV { window: WINDOW as u32, kernel: 3, importance, similarity };
        let scores = options.build(&mut graph, &cache, asked).expect("shapes agree");
        for (head, (keys, actual)) in heads.iter().zip(run(graph, scores)).enumerate() {
            let keys: Vec<&[f32]> = live(keys, head).collect();
            let past = keys.len().saturating_sub(WINDOW);
            let of_head = GROUP as usize * WINDOW * DEPTH as usize;
            let asked: Vec<&[f32]> = queries[head * of_head..][..of_head].chunks(DEPTH as usize).collect();
            let mut mean = vec![0.0; past];
            for i in 0..WINDOW {
                let logit = |key: &&[f32]| {
                    (0..GROUP as usize).map(|g| dot(asked[g * WINDOW + i], key) / f64::from(DEPTH).sqrt()).fold(f64::MIN, f64::max)
                };
                let shares = softmax(&keys[..past].iter().map(logit).collect::<Vec<_>>());
                mean.iter_mut().zip(shares).for_each(|(mean, share)| *mean += share / WINDOW as f64);
            }
            let smooth = |j: usize| mean[j.saturating_sub(1)..(j + 2).min(past)].iter().copied().fold(f64::MIN, f64::max);
            let mut redundancy = vec![0.0; keys.len()];
            for (i, a) in keys.iter().enumerate() {
                let cosine = |b: &[f32]| dot(a, b) / (dot(a, a) * dot(b, b)).sqrt();
                let mut row: Vec<f64> = keys.iter().map(|b| cosine(b)).collect();
                row[i] = 0.0;
                if let Some(last) = (0..row.len()).rev().find(|j| *j != i && row[*j] > f64::from(similarity)) {
                    row[last] = 0.0;
                }
                redundancy.iter_mut().zip(row).for_each(|(sum, cosine)| *sum += cosine / keys.len() as f64);
            }
            let redundancy = softmax(&redundancy);
            let mut expected: Vec<f64> = (0..past).map(|j| importance * smooth(j) - (1.0 - importance) * redundancy[j]).collect();
            expected.resize(TOKENS as usize, 0.0);
            assert_near(&actual, &expected, &format!("head {head}, {options:?}"));
        }
    }
}

#[test]
fn what_went_is_spread_over_the_tokens_behind_it() {
    const WINDOW: usize = 2;
    for sinks in [0, 1] {
        let mut graph = Graph::new();
        let (cache, heads) = cache(&mut graph);
        let scores = video(4, [BATCH * HEADS, TOKENS, 1]);
        let attention: Vec<f32> = video(6, [BATCH * HEADS, TOKENS, 1]).into_iter().map(f32::abs).collect();
        let chances: Vec<f32> = video(9, [BATCH * HEADS, TOKENS, 1]).into_iter().map(|x| x.abs().fract()).collect();
        let shape = [BATCH, HEADS, TOKENS];
        let [scores, given, drawn] = [scores, attention.clone(), chances.clone()].map(|x| graph.constant(HostTensor::f32(shape, x)));
        let always = AlwaysKept { sinks, ..AlwaysKept::NOTHING };
        let evicted = Evict { budget: CacheBudget::Share(0.5), always }.build(&mut graph, &cache, scores).expect("shapes agree");
        let spread = CaM { window: WINDOW as u32 }.build(&mut graph, &cache, &evicted, given, drawn).expect("shapes agree");
        graph.output("values", spread.cache.values).expect("a new name");
        graph.output("positions", spread.cache.positions).expect("a new name");
        let out = graph.run_reference(&[].into()).expect("a run");
        let left = spread.cache.values.shape().dims()[2] as usize;
        let (mut spread, mut stayed) = (0, 0);
        for (head, values) in heads.iter().enumerate() {
            let live = LENGTHS[head] as usize;
            let count = (live / 2).max((sinks as usize).min(live));
            let kept: Vec<usize> = out["positions"].integers()[head * left..][..count].iter().map(|p| *p as usize).collect();
            let value = |token: usize| &values[token * DEPTH as usize..][..DEPTH as usize];
            let of_head = |x: &[f32], token: usize| f64::from(x[head * TOKENS as usize + token]);
            let mut expected: Vec<Vec<f64>> = kept.iter().map(|t| value(*t).iter().map(|v| f64::from(*v)).collect()).collect();
            for token in (0..live).filter(|token| !kept.contains(token)) {
                let targets: Vec<usize> = (0..count).filter(|rank| kept[*rank] > token).take(WINDOW).collect();
                let mean = targets.iter().map(|rank| of_head(&attention, kept[*rank])).sum::<f64>() / targets.len() as f64;
                if targets.is_empty() || of_head(&chances, token) >= (of_head(&attention, token) / mean).clamp(0.0, 1.0) {
                    stayed += 1;
                    continue;
                }
                spread += 1;
                for rank in &targets {
                    let into = expected[*rank].iter_mut().zip(value(token));
                    into.for_each(|(sum, v)| *sum += f64::from(*v) / targets.len() as f64);
                }
            }
            let actual = &out["values"].floats()[head * left * DEPTH as usize..][..left * DEPTH as usize];
            let mut expected = expected.concat();
            expected.resize(left * DEPTH as usize, 0.0);
            assert_near(actual, &expected, &format!("head {head}, sinks {sinks}"));
        }
        assert!(spread > 0 && stayed > 0, "{spread} {stayed}");
    }
}

#[test]
fn an_eviction_may_leave_all_where_it_is() {
    let mut graph = Graph::new();
    let (cache, _) = cache(&mut graph);
    let rows = BATCH * HEADS;
    let scores = graph.constant(HostTensor::f32([BATCH, HEADS, TOKENS], video(4, [rows, TOKENS, 1])));
    let queries = graph.constant(HostTensor::f32([rows, GROUP, 1, DEPTH], video(5, [rows, GROUP, DEPTH])));
    let evict = Evict { budget: CacheBudget::Share(0.5), ..Evict::UNPROTECTED };
    let evicted = evict.build(&mut graph, &cache, scores).expect("shapes agree");
    let left = evicted.cache.keys.shape().dims()[2];
    let [old, new] = [cache.keys, evicted.cache.keys].map(|keys| graph.reshape(keys, [rows, 1, keys.shape().dims()[2], DEPTH]));
    let (old, new) = (old.expect("as many"), new.expect("as many"));
    let lengths = graph.reshape(evicted.cache.lengths, [rows]).expect("as many");
    let moved = QueryKeyValue { queries, keys: new, values: new, bias: None, lengths: Some(lengths), query_lengths: None };
    let moved = Attention::default().build(&mut graph, moved).expect("shapes agree").rows;
    let pages = graph.reshape(evicted.map.representative, [rows, 1, left]).expect("as many");
    let all = PagedInputs { queries, keys: old, values: old, pages, counts: Some(lengths), lengths: None };
    let listed = PagedAttention { page: 1, ..PagedAttention::default() }.build(&mut graph, all).expect("shapes agree").rows;
    graph.output("listed", listed).expect("a new name");
    let copies = |graph: &Graph| {
        let cost = graph.cost(&crate::Capabilities::portable()).expect("a plan");
        cost.steps.iter().filter(|step| step.kernel == "gather_rows").count()
    };
    assert_eq!(copies(&graph), 0);
    graph.output("moved", moved).expect("a new name");
    assert!(copies(&graph) > 0);
    let out = graph.run_reference(&[].into()).expect("a run");
    let expected: Vec<f64> = out["moved"].floats().into_iter().map(f64::from).collect();
    assert_near(&out["listed"].floats(), &expected, "attention over a list");
}
