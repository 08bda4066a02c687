//! Methods for sequences: A-ToMe, FastAdaSP and SAMP.

use tokenpress::methods::{AToMe, AdjacentPairs, FastAdaSp, PairChoice, Samp};
use tokenpress::readback::HostTensors;
use tokenpress::{HostTensor, Tensor, Tokens};

use super::{Failure, Feed, Golden, Side};

/// A tensor `[T, C]` or `[B, T, ..]` as `[B, T, C]`: what is behind the tokens is side by side.
fn rows(value: HostTensor) -> Result<HostTensor, Failure> {
    let shape = match *value.shape().dims() {
        [t, c] => [1, t, c],
        [b, t, c] => [b, t, c],
        [b, t, h, c] => [b, t, h * c],
        _ => return Err("tokens of 2 to 4 dimensions".into()),
    };
    Ok(value.reshaped(shape))
}

/// Ragged tokens, the lengths an input if the case has them.
fn tokens(golden: &Golden, feed: &mut Feed, name: &str) -> Result<Tokens, Failure> {
    let x = feed.input("x", rows(golden.input(name)?)?);
    Ok(match golden.optional_input("lengths")? {
        Some(lengths) => {
            let lengths = feed.input("lengths", lengths);
            Tokens::ragged(&mut feed.graph, x, lengths)?
        }
        None => Tokens::new(&mut feed.graph, x)?,
    })
}

/// The live rows of a tensor, one sequence behind the other, and where each sequence starts.
fn packed(y: &HostTensor, lengths: &[u32]) -> Result<(HostTensor, HostTensor), Failure> {
    let [_, n, channels] = y.shape().exactly("y", "[B, N, C]")?;
    let (mut values, mut ends) = (Vec::new(), vec![0]);
    for (row, &live) in y.floats().chunks((n * channels).max(1) as usize).zip(lengths) {
        values.extend_from_slice(&row[..(live * channels) as usize]);
        ends.push(ends[ends.len() - 1] + live);
    }
    let total = ends[lengths.len()];
    Ok((HostTensor::f32([total, channels], values), HostTensor::u32([ends.len() as u32], ends)))
}

/// Names the outputs of all of these cases, and runs them: `y` without its padding, `similarity` of each token and the next.
fn finish(mut feed: Feed, side: Side<'_>, compressed: tokenpress::Compressed, similarity: Tensor) -> Result<HostTensors, Failure> {
    feed.output("padded", compressed.tokens.x)?;
    feed.output("out_len", compressed.tokens.lengths)?;
    feed.output("parent", compressed.map.parent)?;
    feed.output("similarity", similarity)?;
    let mut outputs = feed.run(side)?;
    let lengths = outputs["out_len"].integers().to_vec();
    let (y, ends) = packed(&outputs["padded"], &lengths)?;
    // Sequences of one length are stacked.
    let [batch, _, channels] = outputs["padded"].shape().exactly("y", "[B, N, C]")?;
    let stacked = lengths.iter().all(|live| *live == lengths[0]) && !lengths.is_empty();
    let stacked = stacked.then(|| y.clone().reshaped([batch, lengths[0], channels]));
    outputs.insert("y".to_owned(), y);
    outputs.extend(stacked.map(|y| ("stacked".to_owned(), y)));
    outputs.insert("cu_seqlens".to_owned(), ends);
    let similarity = &outputs["similarity"];
    let [batch, n] = similarity.shape().exactly("similarity", "[B, N]")?;
    let after: Vec<f32> = similarity.floats().chunks(n.max(1) as usize).flat_map(|row| row[1..].to_vec()).collect();
    outputs.insert("similarity".to_owned(), HostTensor::f32([batch, n.saturating_sub(1)], after));
    Ok(outputs)
}

/// Ragged, packed: disjoint pairs.
pub fn disjoint(golden: &Golden, side: Side<'_>) -> Result<HostTensors, Failure> {
    let mut feed = Feed::default();
    let tokens = tokens(golden, &mut feed, "x")?;
    let choice = PairChoice::Keep(golden.number("ratio_keep").ok_or("no ratio_keep")?);
    let method = AToMe { choice, pairs: AdjacentPairs::Disjoint };
    let merged = method.build(&mut feed.graph, &tokens, tokens.x)?;
    let similarity = method.decide(&mut feed.graph, &tokens, tokens.x)?.similarity;
    let mut outputs = finish(feed, side, merged, similarity)?;
    let [_, n] = outputs["parent"].shape().exactly("parent", "[B, N]")?;
    let (mut pairs, mut ends) = (Vec::new(), vec![0]);
    for row in outputs["parent"].integers().chunks(n.max(1) as usize) {
        let merged = |pair: &[u32]| pair.len() == 2 && pair[0] == pair[1] && pair[0] != tokenpress::NONE;
        pairs.extend(row.chunks(2).enumerate().filter(|(_, pair)| merged(pair)).map(|(p, _)| p as u32));
        ends.push(pairs.len() as u32);
    }
    outputs.insert("merged_pairs".to_owned(), HostTensor::u32([pairs.len() as u32], pairs));
    outputs.insert("merged_pairs_cu".to_owned(), HostTensor::u32([ends.len() as u32], ends));
    Ok(outputs)
}

/// A threshold, in either mode.
pub fn threshold(golden: &Golden, side: Side<'_>) -> Result<HostTensors, Failure> {
    let mut feed = Feed::default();
    let tokens = tokens(golden, &mut feed, "x")?;
    let metric = feed.input("metric", rows(golden.input("metric")?)?);
    let pairs = match golden.text("mode") {
        Some("pairs") => AdjacentPairs::Disjoint,
        Some("overlap") => AdjacentPairs::Overlapping,
        other => return Err(format!("what is the mode {other:?}?").into()),
    };
    let choice = PairChoice::Similarity(golden.number("tau").ok_or("no tau")? as f32);
    let method = AToMe { choice, pairs };
    let merged = method.build(&mut feed.graph, &tokens, metric)?;
    let similarity = method.decide(&mut feed.graph, &tokens, metric)?.similarity;
    finish(feed, side, merged, similarity)
}

/// Overlapping pairs, walked from left to right, or collapsed by runs.
pub fn fastadasp(golden: &Golden, side: Side<'_>) -> Result<HostTensors, Failure> {
    let mut feed = Feed::default();
    let tokens = tokens(golden, &mut feed, "h")?;
    let key = feed.input("key", rows(golden.input("key")?)?);
    let weights = golden.optional_input("weights")?.map(|weights| feed.input("weights", weights));
    let choice = PairChoice::Merge(golden.number("ratio").ok_or("no ratio")?);
    let (merged, similarity) = if golden.text("method") == Some("atome") {
        let method = AToMe { choice, pairs: AdjacentPairs::Overlapping };
        (method.build(&mut feed.graph, &tokens, key)?, method.decide(&mut feed.graph, &tokens, key)?.similarity)
    } else {
        let method = FastAdaSp { choice };
        (method.build(&mut feed.graph, &tokens, key, weights)?, method.decide(&mut feed.graph, &tokens, key)?.similarity)
    };
    let mut outputs = finish(feed, side, merged, similarity)?;
    let stacked = outputs.remove("stacked").ok_or("sequences of one length")?;
    outputs.insert("y".to_owned(), stacked);
    Ok(outputs)
}

/// Ragged, packed: runs by features.
pub fn runs(golden: &Golden, side: Side<'_>) -> Result<HostTensors, Failure> {
    let mut feed = Feed::default();
    let tokens = tokens(golden, &mut feed, "x")?;
    let method = FastAdaSp { choice: PairChoice::Keep(golden.number("ratio_keep").ok_or("no ratio_keep")?) };
    let merged = method.build(&mut feed.graph, &tokens, tokens.x, None)?;
    let similarity = method.decide(&mut feed.graph, &tokens, tokens.x)?.similarity;
    finish(feed, side, merged, similarity)
}

/// SAMP: importance and relevance of an attention over frames, the merge, and the pruning.
pub fn samp(golden: &Golden, side: Side<'_>) -> Result<HostTensors, Failure> {
    let mut feed = Feed::default();
    let tokens = tokens(golden, &mut feed, "x")?;
    let queries = feed.input("queries", golden.input("attn_q")?);
    let keys = feed.input("keys", golden.input("attn_k")?);
    let number = |key: &str| golden.number(key).ok_or_else(|| format!("no {key}"));
    let method = Samp { threshold: number("threshold")? as f32, keep: number("ratio_keep")?, floor: 2 };
    let graph = &mut feed.graph;
    let pool = queries.shape().dims()[2] / tokens.capacity().max(1);
    let pools = Samp::attention(graph, queries, keys, None, pool)?;
    let left = method.build(graph, &tokens, pools.received, pools.own)?;
    for (name, tensor) in [
        ("merged", left.merged.tokens.x),
        ("merged lengths", left.merged.tokens.lengths),
        ("relevance", left.relevance),
        ("parent", left.merged.map.parent),
        ("select_order", left.selected.indices),
        ("kept", left.selected.kept),
        ("y", left.compressed.tokens.x),
    ] {
        graph.output(name, tensor)?;
    }
    let mut outputs = feed.run(side)?;
    let (merged, kept) = (outputs["merged lengths"].integers().to_vec(), outputs["kept"].integers().to_vec());
    for (name, lengths) in [("merged", &merged), ("y", &kept)] {
        let (live, _) = packed(&outputs[name], lengths)?;
        outputs.insert(name.to_owned(), live);
    }
    let relevance = outputs["relevance"].floats()[..merged[0] as usize].to_vec();
    outputs.insert("relevance".to_owned(), HostTensor::f32([merged[0]], relevance));
    let mut order = outputs["select_order"].integers()[..kept[0] as usize].to_vec();
    outputs.insert("select_order".to_owned(), HostTensor::u32([kept[0]], order.clone()));
    order.sort_unstable();
    outputs.insert("selected".to_owned(), HostTensor::u32([kept[0]], order));
    Ok(outputs)
}
