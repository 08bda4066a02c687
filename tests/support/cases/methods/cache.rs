//! Caches of keys and values: every score with an eviction, ragged, of two types, and with ties.

use tokenpress::kernels::{HeadReduction, Rope, RotaryPairs};
use tokenpress::methods::{
    AdaKV, AlwaysKept, Cache, CacheBudget, ChunkKV, Evict, Evicted, ExpectedAttention, LagKV, ObservedAttention, Smoothing, SnapKV,
    key_diff, key_norm, random_scores, recency, tova,
};
use tokenpress::readback::HostTensors;
use tokenpress::{Elem, Error, Graph, HostTensor, Tensor};

use crate::support::{Case, data};

/// Key heads, query heads, channels of keys and of values.
const KEY_HEADS: u32 = 2;
const HEADS: u32 = 4;
const DEPTH: u32 = 8;
const WIDTH: u32 = 5;

type Build = fn(&mut Graph, &Cache, Tensor) -> Result<(Tensor, Evicted), Error>;

fn few() -> Evict {
    Evict { budget: CacheBudget::Share(0.4), always: AlwaysKept { sinks: 2, recent: 3, marks: None } }
}

/// A score, and what stays by it.
const BUILDS: &[(&str, Build)] = &[
    ("random_scores", |graph, cache, _| {
        let scores = random_scores(graph, cache, 5)?;
        Ok((scores, Evict { budget: CacheBudget::Bytes(2000), ..few() }.build(graph, cache, scores)?))
    }),
    ("streaming_llm", |graph, cache, _| {
        let scores = recency(graph, cache)?;
        let evicted = few().build(graph, cache, scores)?;
        let compact = evicted.cache.compact_positions(graph, &Rope::new(10_000.0, DEPTH, RotaryPairs::Half))?;
        Ok((scores, Evicted { cache: compact, ..evicted }))
    }),
    ("key_norm", |graph, cache, _| {
        let scores = key_norm(graph, cache)?;
        Ok((scores, Evict::UNPROTECTED.build(graph, cache, scores)?))
    }),
    ("key_diff", |graph, cache, _| {
        let scores = key_diff(graph, cache)?;
        Ok((scores, few().build(graph, cache, scores)?))
    }),
    ("tova", |graph, cache, queries| {
        let scores = tova(graph, cache, queries)?;
        Ok((scores, few().build(graph, cache, scores)?))
    }),
    ("snapkv", |graph, cache, queries| {
        let scores = SnapKV { window: 3, ..SnapKV::KVPRESS }.build(graph, cache, queries)?;
        Ok((scores, few().build(graph, cache, scores)?))
    }),
    ("snapkv", |graph, cache, queries| {
        let snap = SnapKV { window: 3, kernel: 7, smoothing: Smoothing::Maximum, group: HeadReduction::Max, ..SnapKV::AUTHORS };
        let scores = snap.build(graph, cache, queries)?;
        Ok((scores, few().build(graph, cache, scores)?))
    }),
    ("observed_attention", |graph, cache, queries| {
        let zeros = graph.constant(HostTensor::f32(cache.positions.shape(), vec![0.5; cache.positions.shape().elements() as usize]));
        let scores = ObservedAttention::H2O.accumulate(graph, cache, queries, zeros)?;
        Ok((scores, few().build(graph, cache, scores)?))
    }),
    ("observed_attention", |graph, cache, queries| {
        let scores = ObservedAttention::KVPRESS.build(graph, cache, queries, None)?;
        Ok((scores, few().build(graph, cache, scores)?))
    }),
    ("lagkv", |graph, cache, _| {
        let scores = LagKV { sinks: 2, lag: 6, across: false }.build(graph, cache)?;
        Ok((scores, few().build(graph, cache, scores)?))
    }),
    ("lagkv", |graph, cache, _| {
        let scores = LagKV { sinks: 0, lag: 11, across: true }.build(graph, cache)?;
        Ok((scores, few().build(graph, cache, scores)?))
    }),
    ("expected_attention", |graph, cache, queries| {
        let rope = Rope::new(10_000.0, DEPTH, RotaryPairs::Interleaved);
        let expected = ExpectedAttention { future: 40, sinks: 1, epsilon: 0.01, ..ExpectedAttention::new(rope) };
        let scores = expected.build(graph, cache, queries, None)?;
        Ok((scores, few().build(graph, cache, scores)?))
    }),
    ("ada_kv", |graph, cache, _| {
        let scores = key_norm(graph, cache)?;
        let Evict { budget, always } = few();
        Ok((scores, AdaKV { budget, safeguard: 0.2, always }.build(graph, cache, scores)?))
    }),
    ("chunk_kv", |graph, cache, _| {
        let scores = key_norm(graph, cache)?;
        let Evict { budget, always } = few();
        Ok((scores, ChunkKV { chunk: 5, budget, always }.build(graph, cache, scores)?))
    }),
];

fn case(
    which: usize,
    [batch, tokens, queries]: [u32; 3],
    elem: Elem,
    ragged: bool,
    what: &str,
    values: fn(u64, usize) -> Vec<f32>,
) -> Case {
    let (subject, build) = BUILDS[which];
    let mut graph = Graph::new();
    let mut inputs = HostTensors::new();
    let mut input = |graph: &mut Graph, name: &str, seed: u64, shape: [u32; 4]| {
        let values = values(seed, shape.iter().product::<u32>() as usize);
        inputs.insert(name.to_owned(), data::tensor(shape, elem, &values));
        graph.input(name, shape, elem)
    };
    let keys = input(&mut graph, "keys", 1, [batch, KEY_HEADS, tokens, DEPTH]);
    let of_values = input(&mut graph, "values", 2, [batch, KEY_HEADS, tokens, WIDTH]);
    let of_queries = input(&mut graph, "queries", 3, [batch, HEADS, queries, DEPTH]);
    let cache = if ragged {
        // Heads of different lengths, but where they must be the same.
        let lengths = [tokens / 2, tokens / 3, tokens, 0, 1, u32::MAX, tokens - 3, 4];
        let shared = ["tova", "chunk_kv"].contains(&subject);
        let lengths = (0..batch * KEY_HEADS).map(|i| lengths[if shared { i - i % KEY_HEADS } else { i } as usize % 8]).collect();
        inputs.insert("lengths".to_owned(), HostTensor::u32([batch, KEY_HEADS], lengths));
        let lengths = graph.input("lengths", [batch, KEY_HEADS], Elem::U32);
        Cache::ragged(&mut graph, keys, of_values, lengths)
    } else {
        Cache::new(&mut graph, keys, of_values)
    };
    let cache = cache.expect("shapes agree");
    let (scores, evicted) = build(&mut graph, &cache, of_queries).expect("valid options");
    for (name, tensor) in [
        ("score", scores),
        ("keys'", evicted.cache.keys),
        ("values'", evicted.cache.values),
        ("positions", evicted.cache.positions),
        ("lengths'", evicted.cache.lengths),
        ("parent", evicted.map.parent),
    ] {
        graph.output(name, tensor).expect("new names");
    }
    let name = format!("{which}, {elem} [{batch}, {KEY_HEADS}, {tokens}] {queries} queries {what}");
    Case { subject, name, heavy: false, graph, inputs }
}

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for which in 0..BUILDS.len() {
        cases.push(case(which, [1, 1, 1], Elem::F32, false, "normal", data::normal));
        cases.push(case(which, [2, 33, 3], Elem::F32, false, "normal", data::normal));
        cases.push(case(which, [2, 33, 3], Elem::F32, false, "ties", data::ties));
        cases.push(case(which, [2, 33, 3], Elem::F32, false, "awkward", data::awkward));
        cases.push(case(which, [2, 0, 0], Elem::F32, false, "nothing", data::normal));
        let ragged = case(which, [4, 70, 20], Elem::F32, true, "ragged", data::normal);
        cases.push(ragged.broken_behind(&[("keys", 70, DEPTH), ("values", 70, WIDTH)]));
        cases.push(ragged);
        cases.push(case(which, [4, 70, 20], Elem::F16, true, "ragged", data::normal));
    }
    cases
}
