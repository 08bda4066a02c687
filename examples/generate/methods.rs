//! The scores and budgets that the example offers.

use tokenpress::kernels::{Rope, Statistic, concat_rows, gather_rows, reduce, row_normalize, scale};
use tokenpress::methods::{
    AdaKV, AlwaysKept, Cache, CacheBudget, ChunkKV, Evict, ExpectedAttention, LagKV, ObservedAttention, SnapKV, key_diff, key_norm,
    q_filter, random_scores, recency, tova,
};
use tokenpress::{Error, Graph, HostTensor, Tensor};

use crate::chains;

/// The numbers of every method: how much stays, and what stays in any case. What is infinite is not asked for.
macro_rules! numbers {
    ($($own:expr),*) => {
        &[
            ("share", 0.5),
            ("tokens", f64::INFINITY),
            ("sinks", 4.0),
            ("recent", 32.0),
            ("ada", f64::INFINITY),
            ("chunk", f64::INFINITY),
            $($own),*
        ]
    };
}

/// Where a method's own numbers begin.
const OWN: usize = 6;

pub(crate) const METHODS: &[Method] = &[
    method("random", "noise: a control", numbers!(("seed", 1.0)), |graph, layer, step| {
        random_scores(graph, &layer.cache, step.numbers[OWN] as u32)
    }),
    method("streaming", "the latest tokens, and the sinks (StreamingLLM without its compact positions)", numbers!(), |graph, layer, _| {
        recency(graph, &layer.cache)
    }),
    method("knorm", "small keys", numbers!(), |graph, layer, _| key_norm(graph, &layer.cache)),
    method("keydiff", "keys unlike the mean direction", numbers!(), |graph, layer, _| key_diff(graph, &layer.cache)),
    method(
        "qfilter",
        "keys along the mean direction of the prompt's queries, in place of a file of Q-Filters",
        numbers!(),
        |graph, layer, _| {
            let filters = filters(graph, layer)?;
            q_filter(graph, &layer.cache, filters)
        },
    ),
    method(
        "lagkv",
        "keys and values unlike those that come next; the published lag is 128",
        numbers!(("lag", 32.0)),
        |graph, layer, step| {
            LagKV { sinks: step.numbers[2] as u32, lag: step.numbers[OWN] as u32, across: false }.build(graph, &layer.cache)
        },
    ),
    method("tova", "the last query's attention", numbers!(), |graph, layer, _| tova(graph, &layer.cache, layer.queries)),
    method("snapkv", "the last queries' attention, smoothed", numbers!(("window", 32.0), ("kernel", 5.0)), |graph, layer, step| {
        let [window, kernel] = [step.numbers[OWN], step.numbers[OWN + 1]].map(|number| number as u32);
        let last = last(graph, layer.queries, window)?;
        SnapKV { window, kernel, ..SnapKV::AUTHORS }.build(graph, &layer.cache, last)
    }),
    method("h2o", "the sum of the attention of all queries", numbers!(), |graph, layer, _| {
        ObservedAttention::H2O.build(graph, &layer.cache, layer.queries, None)
    }),
    method("observed", "its mean over the queries that see a key", numbers!(), |graph, layer, _| {
        ObservedAttention::KVPRESS.build(graph, &layer.cache, layer.queries, None)
    }),
    method("expected", "the attention of queries to come", numbers!(("future", 512.0)), |graph, layer, step| {
        let future = step.numbers[OWN] as u32;
        let expected = ExpectedAttention { future, sinks: step.numbers[2] as u32, ..ExpectedAttention::new(layer.rope.clone()) };
        let queries = layer.unturned(graph)?;
        expected.build(graph, &layer.cache, queries, None)
    }),
];

pub(crate) type Method = chains::Method<Layer, Tensor>;
pub(crate) type Step = chains::Step<Layer, Tensor>;

const fn method(
    name: &'static str,
    about: &'static str,
    numbers: &'static [(&'static str, f64)],
    build: fn(&mut Graph, &Layer, &Step) -> Result<Tensor, Error>,
) -> Method {
    Method { name, about, numbers, layers: &[], build }
}

/// What a method finds in a layer after the prompt.
pub(crate) struct Layer {
    pub(crate) cache: Cache,
    /// `[1, H, N, D]` of all tokens of the prompt, with their rotary embedding.
    pub(crate) queries: Tensor,
    pub(crate) rope: Rope,
}

impl Layer {
    /// The queries before their rotary embedding.
    fn unturned(&self, graph: &mut Graph) -> Result<Tensor, Error> {
        let [batch, heads, count, depth] = dims(self.queries)?;
        let queries = graph.reshape(self.queries, [batch * heads, count, depth])?;
        let [from, to] = [|j| j, |_| 0].map(|position: fn(u32) -> u32| {
            graph.constant(HostTensor::u32([batch * heads, count], (0..batch * heads).flat_map(|_| (0..count).map(position)).collect()))
        });
        let queries = self.rope.rotate(graph, queries, Some(from), to, None)?;
        graph.reshape(queries, [batch, heads, count, depth])
    }
}

/// `NAME[:KEY=NUMBER,..]+..` for a model of so many layers. Of several methods each compresses layers of its own.
pub(crate) fn chain(text: &str, layers: usize) -> Result<Vec<Step>, String> {
    let steps = chains::parse(METHODS, text, layers)?;
    match (0..layers).find(|layer| steps.iter().filter(|step| step.is_at(*layer)).count() > 1) {
        Some(layer) => Err(format!("two methods compress layer {}: layer=1/2 gives each its own", layer + 1)),
        None => Ok(steps),
    }
}

/// What a step leaves of a layer's cache.
pub(crate) fn compress(graph: &mut Graph, layer: &Layer, step: &Step) -> Result<Cache, Error> {
    let scores = (step.method.build)(graph, layer, step)?;
    let [share, tokens, sinks, recent, ada, chunk] = [0, 1, 2, 3, 4, 5].map(|index| step.numbers[index]);
    let budget = if tokens.is_finite() { CacheBudget::Tokens(tokens as u32) } else { CacheBudget::Share(share) };
    let always = AlwaysKept { sinks: sinks as u32, recent: recent as u32, marks: None };
    let evicted = if ada.is_finite() {
        AdaKV { budget, safeguard: ada, always }.build(graph, &layer.cache, scores)?
    } else if chunk.is_finite() {
        ChunkKV { chunk: chunk as u32, budget, always }.build(graph, &layer.cache, scores)?
    } else {
        Evict { budget, always }.build(graph, &layer.cache, scores)?
    };
    Ok(evicted.cache)
}

/// A cache's rows `[1, Hkv, N, D]` with room for so many more behind the live ones.
pub(crate) fn with_room(graph: &mut Graph, cache: &Cache, rows: Tensor, spare: u32) -> Result<Tensor, Error> {
    let [batch, heads, tokens, depth] = dims(rows)?;
    let lengths = graph.reshape(cache.lengths, [batch * heads])?;
    let old = graph.reshape(rows, [batch * heads, tokens, depth])?;
    let room = graph.constant(HostTensor::f32([batch * heads, spare, depth], vec![0.0; (batch * heads * spare * depth) as usize]));
    let (both, _) = concat_rows(graph, (old, Some(lengths)), (room, None))?;
    graph.reshape(both, [batch, heads, tokens + spare, depth])
}

/// The last so many queries.
fn last(graph: &mut Graph, queries: Tensor, count: u32) -> Result<Tensor, Error> {
    let [batch, heads, all, depth] = dims(queries)?;
    let count = count.min(all);
    let index = graph.constant(HostTensor::u32([count], (all - count..all).collect()));
    let queries = gather_rows(graph, queries, index, None)?;
    graph.reshape(queries, [batch, heads, count, depth])
}

/// The mean direction of the queries that read each key head, turned round: most queries are on the far side of a filter.
fn filters(graph: &mut Graph, layer: &Layer) -> Result<Tensor, Error> {
    let [_, heads, count, depth] = dims(layer.queries)?;
    let [_, key_heads, _, _] = dims(layer.cache.keys)?;
    let group = heads / key_heads * count;
    let queries = graph.reshape(layer.queries, [key_heads, group, depth])?;
    let mean = reduce(graph, queries, 1, Statistic::Mean, None)?;
    let mean = graph.reshape(mean, [1, key_heads, depth])?;
    let unit = row_normalize(graph, mean, None)?.unit;
    let filters = scale(graph, unit, -1.0)?;
    graph.reshape(filters, [key_heads, depth])
}

pub(crate) fn dims(tensor: Tensor) -> Result<[u32; 4], Error> {
    let wrong = || Error::Shape { argument: "generate: rows", expected: "[B, H, N, D]".to_owned(), actual: tensor.shape() };
    tensor.shape().dims().try_into().map_err(|_| wrong())
}
