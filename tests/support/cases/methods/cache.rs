//! Caches of keys and values: every score with an eviction, ragged, of two types, and with ties.

use tokenpress::kernels::{HeadReduction, Rope, RotaryPairs, gather_rows};
use tokenpress::methods::{
    AdaKV, AlwaysKept, CaM, Cache, CacheBudget, ChunkKV, CriticalKV, Evict, Evicted, ExpectedAttention, LagKV, MergeEvicted, MergeRule,
    MergeThreshold, ObservedAttention, Quest, RKV, Smoothing, SnapKV, ThinK, TopP, key_diff, key_norm, q_filter, random_scores, recency,
    tova,
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

/// What goes is merged by a rule. The scores are the threshold that was used.
fn merged(graph: &mut Graph, cache: &Cache, rule: MergeRule, threshold: MergeThreshold) -> Result<(Tensor, Evicted), Error> {
    let scores = key_diff(graph, cache)?;
    let evicted = few().build(graph, cache, scores)?;
    let merged = MergeEvicted { rule, threshold }.build(graph, cache, &evicted)?;
    Ok((merged.threshold, merged.evicted))
}

/// Pages for the first query, and its attention over them. Keys are values too, which are of the keys' type.
fn quest(graph: &mut Graph, cache: &Cache, queries: Tensor, group: HeadReduction) -> Result<(Tensor, Evicted), Error> {
    let cache = Cache { values: cache.keys, ..*cache };
    let quest = Quest { page: 4, budget: 18, least: 1, group };
    let [batch, heads, count, depth] = *queries.shape().dims() else { panic!("four dimensions") };
    let queries = graph.reshape(queries, [batch * heads, count, depth])?;
    let first = graph.constant(HostTensor::u32([1], vec![0]));
    let query = gather_rows(graph, queries, first, None)?;
    let query = graph.reshape(query, [batch, heads, 1, depth])?;
    let bounds = quest.bounds(graph, &cache)?;
    let (pages, _) = quest.choose(graph, &cache, &bounds, query)?;
    let attended = quest.attend(graph, &cache, &bounds, query)?;
    graph.output("pages", pages)?;
    graph.output("rows", attended.rows)?;
    let scores = recency(graph, &cache)?;
    Ok((scores, few().build(graph, &cache, scores)?))
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
    ("top_p", |graph, cache, queries| {
        let scores = ObservedAttention::H2O.build(graph, cache, queries, None)?;
        let always = few().always;
        Ok((scores, TopP { share: 0.6, most: CacheBudget::Share(0.7), always }.build(graph, cache, scores)?))
    }),
    ("forgotten", |graph, cache, queries| {
        let scores = key_norm(graph, cache)?;
        let evicted = few().build(graph, cache, scores)?;
        // Keys as values, which are of the keys' type.
        let before = Cache { values: cache.keys, ..*cache };
        let lost = evicted.forgotten(graph, &before, queries)?;
        graph.output("change", lost.change)?;
        graph.output("norm", lost.norm)?;
        Ok((lost.share, evicted))
    }),
    ("merge_evicted", |graph, cache, _| merged(graph, cache, MergeRule::Pivot, MergeThreshold::All)),
    ("merge_evicted", |graph, cache, _| merged(graph, cache, MergeRule::Similarity, MergeThreshold::AtLeast(0.2))),
    ("merge_evicted", |graph, cache, _| merged(graph, cache, MergeRule::Scaled, MergeThreshold::Mean)),
    ("merge_evicted", |graph, cache, _| merged(graph, cache, MergeRule::ValueNorm, MergeThreshold::AtLeast(0.0))),
    ("quest", |graph, cache, queries| quest(graph, cache, queries, HeadReduction::None)),
    ("quest", |graph, cache, queries| quest(graph, cache, queries, HeadReduction::Mean)),
    ("q_filter", |graph, cache, _| {
        let filters = data::tensor([KEY_HEADS, DEPTH], cache.keys.elem(), &data::normal(6, (KEY_HEADS * DEPTH) as usize));
        let filters = graph.constant(filters);
        let scores = q_filter(graph, cache, filters)?;
        Ok((scores, few().build(graph, cache, scores)?))
    }),
    ("r_kv", |graph, cache, queries| {
        let scores = RKV { window: 3, kernel: 3, importance: 0.4, similarity: 0.2 }.build(graph, cache, queries)?;
        Ok((scores, few().build(graph, cache, scores)?))
    }),
    ("cam", |graph, cache, queries| {
        let scores = ObservedAttention::H2O.build(graph, cache, queries, None)?;
        let evicted = few().build(graph, cache, scores)?;
        let chances = random_scores(graph, cache, 3)?;
        Ok((scores, CaM { window: 3 }.build(graph, cache, &evicted, scores, chances)?))
    }),
    ("critical_kv", |graph, cache, _| {
        let weights = data::tensor([HEADS, 5, WIDTH], cache.values.elem(), &data::normal(8, (HEADS * 5 * WIDTH) as usize));
        let weights = graph.constant(weights);
        let scores = key_norm(graph, cache)?;
        let critical = CriticalKV::new(few().budget).build(graph, cache, scores, weights)?;
        Ok((critical, few().build(graph, cache, critical)?))
    }),
    ("think", |graph, cache, queries| {
        let pruned = ThinK { prune: 0.4 }.build(graph, cache, queries)?;
        graph.output("kept", pruned.kept)?;
        let scores = recency(graph, cache)?;
        let evicted = Evict::UNPROTECTED.build(graph, &pruned.cache, scores)?;
        Ok((pruned.score, evicted))
    }),
    ("append", |graph, cache, _| {
        let [batch, heads, _, _] = *cache.keys.shape().dims() else { panic!("four dimensions") };
        let rows = |graph: &mut Graph, seed: u64, behind: Tensor| {
            let shape = [batch, heads, 2, behind.shape().dims()[3]];
            let values = data::normal(seed, shape.iter().product::<u32>() as usize);
            graph.constant(data::tensor(shape, behind.elem(), &values))
        };
        let (keys, values) = (rows(graph, 4, cache.keys), rows(graph, 5, cache.values));
        let at = graph.constant(HostTensor::u32([batch, 2], [900, 901].repeat(batch as usize)));
        let cache = cache.append(graph, keys, values, at)?;
        let scores = recency(graph, &cache)?;
        Ok((scores, few().build(graph, &cache, scores)?))
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
        cases.push(case(which, [3, 40, 4], Elem::BF16, true, "ragged", data::normal));
    }
    cases
}
