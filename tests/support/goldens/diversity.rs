//! DivPrune, CDPruner, Balanced Token Pruning and VisPruner.

use tokenpress::kernels::{GreedyInputs, GreedySelect, Objective, Statistic, gather_rows, reduce, row_normalize};
use tokenpress::methods::{BalancedPrune, CdPruner, DivPrune, RebalancedTopK, VisPruner, spatial_spread, text_similarity};
use tokenpress::readback::HostTensors;
use tokenpress::{Graph, HostTensor, Shape, Tensor, Tokens};

use super::{Failure, Feed, Golden, Side};

/// Tokens `[N, C]` or `[B, N, C]`.
fn tokens(golden: &Golden, feed: &mut Feed, name: &str) -> Result<Tokens, Failure> {
    let x = golden.input(name)?;
    let shape: Shape = match *x.shape().dims() {
        [tokens, channels] => [1, tokens, channels].into(),
        _ => x.shape(),
    };
    let x = feed.input(name, x.reshaped(shape));
    Ok(Tokens::new(&mut feed.graph, x)?)
}

/// The mean over the heads of a row of attention `[B, H, N]` or `[B, H, 1, N]`.
fn head_mean(golden: &Golden, feed: &mut Feed) -> Result<Tensor, Failure> {
    let attention = golden.input("attn")?;
    let (batch, heads, tokens) = match *attention.shape().dims() {
        [batch, heads, tokens] | [batch, heads, 1, tokens] => (batch, heads, tokens),
        _ => return Err(format!("attention of {}", attention.desc()).into()),
    };
    let attention = feed.input("attn", attention.reshaped([batch, heads, tokens]));
    Ok(reduce(&mut feed.graph, attention, 1, Statistic::Mean, None)?)
}

/// The rows `start..start + count` of a tensor.
fn slice(graph: &mut Graph, x: Tensor, start: u32, count: u32) -> Result<Tensor, Failure> {
    let index = graph.constant(HostTensor::u32([count], (start..start + count).collect()));
    Ok(gather_rows(graph, x, index, None)?)
}

fn mask(graph: &mut Graph, tokens: &Tokens, indices: Tensor) -> Result<Tensor, Failure> {
    use tokenpress::kernels::{invert_index, lookup};
    let entries = indices.shape().dims()[1];
    let table = graph.constant(HostTensor::u32([entries + 1], [vec![1; entries as usize], vec![0]].concat()));
    let place = invert_index(graph, indices, tokens.capacity())?;
    Ok(lookup(graph, table, place)?)
}

pub fn divprune(golden: &Golden, side: Side<'_>) -> Result<HostTensors, Failure> {
    let mut feed = Feed::default();
    let tokens = tokens(golden, &mut feed, "x")?;
    let keep = golden.number("ratio").ok_or("no ratio")?;
    let output = DivPrune { keep, floor: 0 }.build(&mut feed.graph, &tokens)?;
    feed.output("selected", output.selected.indices)?;
    feed.output("selected_sorted", output.pruned.selection.indices)?;
    feed.run(side)
}

pub fn cdpruner(golden: &Golden, side: Side<'_>) -> Result<HostTensors, Failure> {
    let mut feed = Feed::default();
    let tokens = tokens(golden, &mut feed, "x")?;
    let image = feed.input("image_embeds", golden.input("image_embeds")?);
    // The batch shares its texts.
    let text = golden.input("text_embeds")?;
    let [texts, channels] = [text.shape().dims()[0], text.shape().dims()[1]];
    let text = HostTensor::f32([tokens.batch(), texts, channels], text.floats().repeat(tokens.batch() as usize));
    let text = feed.input("text_embeds", text);
    let similarity = text_similarity(&mut feed.graph, image, text, None, None)?;
    let method = CdPruner { keep: golden.count("T")?, over_batch: true, ..Default::default() };
    let output = method.build(&mut feed.graph, &tokens, similarity)?;
    feed.output("relevance", output.relevance)?;
    feed.output("select_order", output.kept.selected.indices)?;
    feed.output("selected", output.kept.pruned.selection.indices)?;
    let mask = mask(&mut feed.graph, &tokens, output.kept.selected.indices)?;
    feed.output("mask", mask)?;
    feed.run(side)
}

pub fn btp_attention(golden: &Golden, side: Side<'_>) -> Result<HostTensors, Failure> {
    let mut feed = Feed::default();
    let score = head_mean(golden, &mut feed)?;
    let oversample = golden.number("oversample").ok_or("no oversample")?;
    let method = RebalancedTopK { select: golden.count("select")?, oversample, early: golden.count("k")? };
    let selected = method.build(&mut feed.graph, score, None)?;
    feed.output("selected", selected)?;
    feed.run(side)
}

pub fn btp_diversity(golden: &Golden, side: Side<'_>) -> Result<HostTensors, Failure> {
    let mut feed = Feed::default();
    let tokens = tokens(golden, &mut feed, "x")?;
    let k = golden.count("k")?;
    let Some(given) = golden.optional_input("given")? else {
        // Without a given set it is DivPrune's rule.
        let keep = f64::from(k) / f64::from(tokens.capacity());
        let output = DivPrune { keep, floor: 0 }.build(&mut feed.graph, &tokens)?;
        feed.output("selected", output.selected.indices)?;
        return feed.run(side);
    };
    let select = GreedySelect { objective: Objective::MaxMin, k: k + given.shape().dims()[0] };
    let given = Some(feed.input("given", given));
    let normalized = row_normalize(&mut feed.graph, tokens.x, None)?;
    let output = select.build(&mut feed.graph, GreedyInputs { given, ..GreedyInputs::new(normalized) })?;
    feed.output("selected", output.indices)?;
    feed.run(side)
}

pub fn btp_spatial(golden: &Golden, side: Side<'_>) -> Result<HostTensors, Failure> {
    let mut feed = Feed::default();
    let spread = spatial_spread(golden.count("H")?, golden.count("W")?, golden.count("k")?)?;
    let selected = feed.graph.constant(HostTensor::u32([spread.len() as u32], spread));
    feed.output("selected", selected)?;
    feed.run(side)
}

/// Stages over LLaVA-1.5's prompt: 35 tokens of the system, then the image's.
pub fn btp_stage(golden: &Golden, side: Side<'_>) -> Result<HostTensors, Failure> {
    const SYSTEM: u32 = 35;
    let mut feed = Feed::default();
    let keep = golden.count("k")?;
    let (method, image) = match golden.count("stage")? {
        1 => (BalancedPrune::first(keep, spatial_spread(24, 24, 144)?), 576),
        2 => (BalancedPrune::second(keep), 288),
        _ => (BalancedPrune::third(keep), 144),
    };
    let hidden = tokens(golden, &mut feed, "hidden")?.x;
    let score = head_mean(golden, &mut feed)?;
    let graph = &mut feed.graph;
    let hidden = slice(graph, hidden, SYSTEM, image)?;
    let score = slice(graph, score, SYSTEM, image)?;
    let tokens = Tokens::new(graph, hidden)?;
    let output = method.build(graph, &tokens, score)?;
    feed.output("div", output.diverse)?;
    feed.output("indices", output.pruned.selection.indices)?;
    feed.output("attended", output.attended)?;
    feed.output("order", output.selected.indices)?;
    let mut outputs = feed.run(side)?;
    // The published code's own result has tokens twice that both lists have, and fewer to fill it up.
    let lists = [outputs["div"].integers(), outputs["attended"].integers(), &method.spatial].concat();
    let filled = outputs["order"].integers().iter().filter(|i| !lists.contains(i)).take((keep as usize).saturating_sub(lists.len()));
    let mut duplicates: Vec<u32> = lists.iter().chain(filled).copied().collect();
    duplicates.sort_unstable();
    let duplicates = HostTensor::u32([duplicates.len() as u32], duplicates);
    outputs.insert("indices_reference_with_duplicates".to_owned(), duplicates);
    Ok(outputs)
}

pub fn vispruner(golden: &Golden, side: Side<'_>) -> Result<HostTensors, Failure> {
    let mut feed = Feed::default();
    let tokens = tokens(golden, &mut feed, "x")?;
    let score = head_mean(golden, &mut feed)?;
    let important = golden.number("important_ratio").ok_or("no important_ratio")?;
    let output = VisPruner { keep: golden.count("T")?, important }.build(&mut feed.graph, &tokens, score)?;
    feed.output("important", output.important)?;
    feed.output("residual_final", output.diverse)?;
    let selected = output.pruned.selection.indices;
    feed.output("selected", selected)?;
    let mask = mask(&mut feed.graph, &tokens, selected)?;
    feed.output("mask", mask)?;
    feed.run(side)
}
