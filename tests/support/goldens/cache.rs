//! Caches of keys and values: scores, budgets and what stays.

use tokenpress::kernels::{HeadReduction, Rope, RotaryPairs, RowReduction, gather_rows};
use tokenpress::methods::{
    AdaKV, AlwaysKept, Cache, CacheBudget, ChunkKV, Evict, Evicted, ExpectedAttention, LagKV, ObservedAttention, Smoothing, SnapKV,
    key_diff, key_norm, recency, tova,
};
use tokenpress::readback::HostTensors;
use tokenpress::schedule::PyramidKV;
use tokenpress::{HostTensor, NONE, Tensor, TokenMap};

use super::{Failure, Feed, Golden, Side};

/// Keys, and values where the case has them.
fn cache(golden: &Golden, feed: &mut Feed) -> Result<Cache, Failure> {
    let keys = feed.input("keys", golden.input("keys")?);
    let values = match golden.optional_input("values")? {
        Some(values) => feed.input("values", values),
        None => keys,
    };
    Ok(Cache::new(&mut feed.graph, keys, values)?)
}

fn share(golden: &Golden) -> Result<CacheBudget, Failure> {
    Ok(CacheBudget::Share(1.0 - golden.number("ratio").ok_or("no ratio")?))
}

fn group(golden: &Golden) -> Result<HeadReduction, Failure> {
    match golden.text("groups") {
        Some("mean") | None => Ok(HeadReduction::Mean),
        Some("max") => Ok(HeadReduction::Max),
        Some("sum") => Ok(HeadReduction::Sum),
        Some(other) => Err(format!("groups of {other}").into()),
    }
}

/// Entries of the last dimension of `[B, Hkv, N]`.
fn columns(feed: &mut Feed, x: Tensor, range: std::ops::Range<u32>) -> Result<Tensor, Failure> {
    let [b, h, n] = x.shape().exactly("columns", "[B, Hkv, N]")?;
    let flat = feed.graph.reshape(x, [b * h, n])?;
    let width = range.end - range.start;
    let index = feed.graph.constant(HostTensor::u32([width], range.collect()));
    let cut = gather_rows(&mut feed.graph, flat, index, None)?;
    Ok(feed.graph.reshape(cut, [b, h, width])?)
}

/// The first head of `[B, Hkv, N]`.
fn first_head(feed: &mut Feed, x: Tensor) -> Result<Tensor, Failure> {
    let index = feed.graph.constant(HostTensor::u32([1], vec![0]));
    Ok(gather_rows(&mut feed.graph, x, index, None)?)
}

/// The positions that stay.
fn kept(feed: &mut Feed, evicted: &Evicted) -> Result<(), Failure> {
    feed.output("kept", evicted.cache.positions)
}

fn tokens(cache: &Cache) -> u32 {
    cache.keys.shape().dims()[2]
}

/// Scores without queries: `score` and what stays by them.
fn plain(
    golden: &Golden,
    side: Side<'_>,
    score: impl Fn(&mut tokenpress::Graph, &Cache) -> Result<Tensor, tokenpress::Error>,
) -> Result<HostTensors, Failure> {
    let mut feed = Feed::default();
    let cache = cache(golden, &mut feed)?;
    let scores = score(&mut feed.graph, &cache)?;
    feed.output("scores", scores)?;
    let evict = Evict { budget: share(golden)?, always: AlwaysKept::NOTHING };
    let evicted = evict.build(&mut feed.graph, &cache, scores)?;
    kept(&mut feed, &evicted)?;
    feed.run(side)
}

pub fn knorm(golden: &Golden, side: Side<'_>) -> Result<HostTensors, Failure> {
    plain(golden, side, key_norm)
}

pub fn keydiff(golden: &Golden, side: Side<'_>) -> Result<HostTensors, Failure> {
    plain(golden, side, key_diff)
}

pub fn streaming(golden: &Golden, side: Side<'_>) -> Result<HostTensors, Failure> {
    let mut feed = Feed::default();
    let cache = cache(golden, &mut feed)?;
    let scores = recency(&mut feed.graph, &cache)?;
    let always = AlwaysKept { sinks: golden.count("sinks")?, ..AlwaysKept::NOTHING };
    let evicted = Evict { budget: share(golden)?, always }.build(&mut feed.graph, &cache, scores)?;
    kept(&mut feed, &evicted)?;
    feed.run(side)
}

pub fn snapkv(golden: &Golden, side: Side<'_>) -> Result<HostTensors, Failure> {
    let mut feed = Feed::default();
    let cache = cache(golden, &mut feed)?;
    let queries = feed.input("queries", golden.input("queries")?);
    let window = golden.count("window")?;
    let smoothing = match golden.text("pool") {
        Some("average") => Smoothing::Average,
        Some("maximum") => Smoothing::Maximum,
        other => return Err(format!("a pool of {other:?}").into()),
    };
    let form = if golden.case == "kvpress" { SnapKV::KVPRESS } else { SnapKV::AUTHORS };
    let snap = SnapKV { window, kernel: golden.count("kernel")?, smoothing, group: group(golden)?, ..form };
    let scores = snap.build(&mut feed.graph, &cache, queries)?;
    let before = columns(&mut feed, scores, 0..tokens(&cache) - window)?;
    feed.output("scores", before)?;
    let budget = golden.count("capacity").map(CacheBudget::Tokens).or_else(|_| share(golden))?;
    let always = AlwaysKept { recent: window, ..AlwaysKept::NOTHING };
    let evicted = Evict { budget, always }.build(&mut feed.graph, &cache, scores)?;
    kept(&mut feed, &evicted)?;
    feed.run(side)
}

/// H2O's sums before the window, or kvpress's means of all.
pub fn observed(golden: &Golden, side: Side<'_>) -> Result<HostTensors, Failure> {
    let mut feed = Feed::default();
    let cache = cache(golden, &mut feed)?;
    let queries = feed.input("queries", golden.input("queries")?);
    let h2o = golden.system == "h2o";
    let rows = if h2o { RowReduction::Sum } else { RowReduction::MeanVisible };
    let scores = ObservedAttention { rows, group: group(golden)? }.build(&mut feed.graph, &cache, queries, None)?;
    let recent = if h2o { golden.count("window")? } else { 0 };
    let before = columns(&mut feed, scores, 0..tokens(&cache) - recent)?;
    feed.output("scores", before)?;
    let budget = if h2o { CacheBudget::Tokens(golden.count("capacity")?) } else { share(golden)? };
    let always = AlwaysKept { recent, ..AlwaysKept::NOTHING };
    let evicted = Evict { budget, always }.build(&mut feed.graph, &cache, scores)?;
    kept(&mut feed, &evicted)?;
    feed.run(side)
}

pub fn last_query(golden: &Golden, side: Side<'_>) -> Result<HostTensors, Failure> {
    let mut feed = Feed::default();
    let cache = cache(golden, &mut feed)?;
    let queries = feed.input("queries", golden.input("queries")?);
    let scores = tova(&mut feed.graph, &cache, queries)?;
    let before = columns(&mut feed, scores, 0..tokens(&cache) - 1)?;
    let before = first_head(&mut feed, before)?;
    feed.output("scores", before)?;
    let always = AlwaysKept { recent: 1, ..AlwaysKept::NOTHING };
    let evicted = Evict { budget: share(golden)?, always }.build(&mut feed.graph, &cache, scores)?;
    let positions = first_head(&mut feed, evicted.cache.positions)?;
    feed.output("kept", positions)?;
    feed.run(side)
}

/// Given scores, or the keys' norms.
pub fn ada(golden: &Golden, side: Side<'_>) -> Result<HostTensors, Failure> {
    let mut feed = Feed::default();
    let given = golden.input("scores")?;
    let [b, h, n] = given.shape().exactly("scores", "[B, Hkv, N]")?;
    let (cache, scores) = match golden.optional_input("keys")? {
        Some(_) => {
            let cache = cache(golden, &mut feed)?;
            (cache, key_norm(&mut feed.graph, &cache)?)
        }
        None => {
            let keys = feed.graph.constant(HostTensor::f32([b, h, n, 1], vec![0.0; (b * h * n) as usize]));
            (Cache::new(&mut feed.graph, keys, keys)?, feed.input("scores", given))
        }
    };
    let safeguard = golden.number("safeguard").ok_or("no safeguard")?;
    let ada = AdaKV { budget: share(golden)?, safeguard, always: AlwaysKept::NOTHING };
    let evicted = ada.build(&mut feed.graph, &cache, scores)?;
    feed.output("kept_per_head", evicted.cache.lengths)?;
    feed.output("parent", evicted.map.parent)?;
    let mut out = feed.run(side)?;
    let parent = out.remove("parent").ok_or("no parents")?;
    let mask = parent.integers().iter().map(|place| u32::from(*place != NONE)).collect();
    out.insert("kept_mask".to_owned(), HostTensor::u32([b, h, n], mask));
    Ok(out)
}

pub fn chunks(golden: &Golden, side: Side<'_>) -> Result<HostTensors, Failure> {
    let mut feed = Feed::default();
    let cache = cache(golden, &mut feed)?;
    let scores = key_norm(&mut feed.graph, &cache)?;
    let chunks = ChunkKV { chunk: golden.count("chunk")?, budget: share(golden)?, always: AlwaysKept::NOTHING };
    let evicted = chunks.build(&mut feed.graph, &cache, scores)?;
    // A last chunk that is shorter leaves room.
    feed.output("positions", evicted.cache.positions)?;
    feed.output("lengths", evicted.cache.lengths)?;
    let mut out = feed.run(side)?;
    let (positions, lengths) = (out.remove("positions").ok_or("no positions")?, out.remove("lengths").ok_or("no lengths")?);
    let [b, h, room] = positions.shape().exactly("positions", "[B, Hkv, C]")?;
    let left = lengths.integers()[0];
    if lengths.integers().iter().any(|length| *length != left) {
        return Err("heads of different lengths".into());
    }
    let live = positions.integers().chunks(room as usize).flat_map(|row| &row[..left as usize]).copied().collect();
    out.insert("kept".to_owned(), HostTensor::u32([b, h, left], live));
    Ok(out)
}

pub fn pyramid(golden: &Golden, _: Side<'_>) -> Result<HostTensors, Failure> {
    let pyramid = PyramidKV { window: golden.count("window")?, beta: golden.count("beta")? };
    let layers = golden.count("layers")?;
    let keep = 1.0 - golden.number("ratio").ok_or("no ratio")?;
    let budgets = pyramid.counts(layers as usize, golden.count("tokens")?, keep)?;
    Ok([("budgets".to_owned(), HostTensor::u32([layers], budgets))].into())
}

/// Keys that stay, at compact positions.
pub fn rerotation(golden: &Golden, side: Side<'_>) -> Result<HostTensors, Failure> {
    let mut feed = Feed::default();
    let cache = cache(golden, &mut feed)?;
    let frequencies = golden.input("inverse_frequencies")?.floats().into_iter().map(f64::from).collect();
    let pairs = match golden.text("pairing") {
        Some("half") => RotaryPairs::Half,
        other => return Err(format!("a pairing of {other:?}").into()),
    };
    let indices = golden.input("kept")?;
    let [b, h, left] = indices.shape().exactly("kept", "[B, Hkv, C]")?;
    let indices = feed.input("indices", indices.reshaped([b * h, left]));
    let lengths = feed.graph.constant(HostTensor::u32([b * h], vec![left; (b * h) as usize]));
    let map = TokenMap::selection(&mut feed.graph, indices, lengths, tokens(&cache))?;
    let evicted = cache.keep(&mut feed.graph, map)?;
    let compact = evicted.cache.compact_positions(&mut feed.graph, &Rope::of(frequencies, pairs))?;
    feed.output("turned", compact.keys)?;
    let mut out = feed.run(side)?;
    let keys = out.remove("turned").ok_or("no keys")?;
    out.insert("keys".to_owned(), keys);
    Ok(out)
}

pub fn lagkv(golden: &Golden, side: Side<'_>) -> Result<HostTensors, Failure> {
    let mut feed = Feed::default();
    let cache = cache(golden, &mut feed)?;
    let lag = LagKV { sinks: golden.count("sinks")?, lag: golden.count("lag")?, across: false };
    let scores = lag.build(&mut feed.graph, &cache)?;
    feed.output("scores", scores)?;
    feed.run(side)
}

/// Scores after the sinks, and what stays with them.
pub fn expected(golden: &Golden, side: Side<'_>) -> Result<HostTensors, Failure> {
    let mut feed = Feed::default();
    let cache = cache(golden, &mut feed)?;
    let queries = feed.input("queries", golden.input("queries")?);
    let depth = cache.keys.shape().dims()[3];
    let sinks = golden.count("sinks")?;
    let expected = ExpectedAttention {
        future: golden.count("future")?,
        sinks,
        covariance: golden.flag("covariance"),
        value_norms: golden.flag("value_norms"),
        epsilon: golden.number("epsilon").ok_or("no epsilon")? as f32,
        ..ExpectedAttention::new(Rope::new(golden.number("base").ok_or("no base")?, depth, RotaryPairs::Half))
    };
    let scores = expected.build(&mut feed.graph, &cache, queries, None)?;
    let after = columns(&mut feed, scores, sinks..tokens(&cache))?;
    feed.output("scores", after)?;
    let always = AlwaysKept { sinks, ..AlwaysKept::NOTHING };
    let evicted = Evict { budget: share(golden)?, always }.build(&mut feed.graph, &cache, scores)?;
    kept(&mut feed, &evicted)?;
    feed.run(side)
}
