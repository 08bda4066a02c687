//! Whole blocks and layers: EViT, IdleViT, FastV. The kernels decide and move the tokens; what is dense between them is
//! computed here in f64, and reaches them rounded to f32.

use tokenpress::kernels::{AttentionInputs, AttentionScore, HeadReduction, Norm, Queries, RowReduction, gather_rows};
use tokenpress::methods::{EVit, FastV, IdleVit};
use tokenpress::readback::HostTensors;
use tokenpress::{Desc, HostTensor, Tokens};

use super::dense::{Block, Rows};
use super::{Failure, Feed, Golden, Side};

/// Columns `from..to` of a tensor `[.., N]`.
fn columns(tensor: &HostTensor, from: u32, to: u32) -> HostTensor {
    let dims = tensor.shape();
    let (width, outer) = (dims.dims().last().copied().unwrap_or(0), dims.dims()[0]);
    let desc = Desc::new([outer, to - from], tensor.desc().elem);
    let range = from as usize..to as usize;
    match tensor.desc().elem {
        tokenpress::Elem::U32 => {
            HostTensor::u32(desc.shape, tensor.integers().chunks(width as usize).flat_map(|row| row[range.clone()].to_vec()).collect())
        }
        _ => HostTensor::from_floats(desc, tensor.floats().chunks(width as usize).flat_map(|row| row[range.clone()].to_vec()).collect()),
    }
}

/// Each row of `[B, K]` indices.
fn lists(tensor: &HostTensor) -> Vec<Vec<usize>> {
    let width = tensor.shape().dims()[1].max(1) as usize;
    tensor.integers().chunks(width).map(|row| row.iter().map(|&i| i as usize).collect()).collect()
}

/// `x + attention`, the selection, `+ mlp` on what is left.
pub fn evit(golden: &Golden, side: Side<'_>) -> Result<HostTensors, Failure> {
    let block = Block::of(golden)?;
    let x = Rows::of(&golden.input("x")?)?;
    let qkv = block.qkv(&x)?;
    let attended = x.plus(&block.attention(&qkv)?);

    let mut feed = Feed::default();
    let rows = feed.input("x", attended.tensor());
    let queries = feed.input("q", qkv[0].tensor());
    let keys = feed.input("k", qkv[1].tensor());
    let tokens = Tokens::new(&mut feed.graph, rows)?;
    let method = EVit { keep: golden.number("keep_rate").ok_or("no keep_rate")?, fuse: golden.flag("fuse_token") };
    let output = method.build(&mut feed.graph, &tokens, queries, keys)?;
    feed.output("x_selected", output.compressed.tokens.x)?;
    feed.output("score", output.score)?;
    feed.output("selected", output.selection.indices)?;
    let mut outputs = feed.run(side)?;

    // The references count patches, without the class token.
    let n = x.tokens as u32;
    let score = columns(&outputs["score"], 1, n);
    let selected = outputs.remove("selected").ok_or("no selection")?;
    let kept = columns(&selected, 1, selected.shape().dims()[1]);
    let kept = HostTensor::u32(kept.shape(), kept.integers().iter().map(|i| i.wrapping_sub(1)).collect());
    let y = block.feed_forward(&Rows::of(&outputs["x_selected"])?)?;
    outputs.extend(
        [("score", score), ("kept_idx", kept), ("q", qkv[0].tensor()), ("k", qkv[1].tensor()), ("y", y.tensor())]
            .map(|(n, t)| (n.to_owned(), t)),
    );
    Ok(outputs)
}

/// The selected rows go through the block, and back to their places.
pub fn idlevit(golden: &Golden, side: Side<'_>) -> Result<HostTensors, Failure> {
    let block = Block::of(golden)?;
    let x_tensor = golden.input("x")?;
    let x = Rows::of(&x_tensor)?;
    let [q, k, v] = block.qkv(&x)?;
    let method = IdleVit { keep: golden.count("K")? };

    let mut feed = Feed::default();
    let rows = feed.input("x", x_tensor.clone());
    let queries = feed.input("q", q.tensor());
    let keys = feed.input("k", k.tensor());
    let tokens = Tokens::new(&mut feed.graph, rows)?;
    let chosen = method.build(&mut feed.graph, &tokens, queries, keys)?;
    feed.output("score", chosen.score)?;
    feed.output("selected", chosen.pruned.selection.indices)?;
    feed.output("rows", chosen.pruned.compressed.tokens.x)?;
    let mut outputs = feed.run(side)?;

    let index = lists(&outputs["selected"]);
    let rows = Rows::of(&outputs.remove("rows").ok_or("no rows")?)?;
    if rows.tensor() != x.gather(&index).tensor() {
        return Err("the selected rows are not x's".into());
    }
    let attended = block.attention(&[q.gather(&index), k.gather(&index), v.gather(&index)])?;
    let updated = block.feed_forward(&rows.plus(&attended))?;

    // The same graph again, now with the block's result to put back.
    let mut feed = Feed::default();
    let rows = feed.input("x", x_tensor.clone());
    let queries = feed.input("q", q.tensor());
    let keys = feed.input("k", k.tensor());
    let updated = feed.input("updated", updated.tensor());
    let tokens = Tokens::new(&mut feed.graph, rows)?;
    let chosen = method.build(&mut feed.graph, &tokens, queries, keys)?;
    let y = chosen.scatter(&mut feed.graph, updated, rows)?;
    feed.output("y", y)?;
    let y = feed.run(side)?.remove("y").ok_or("no y")?;

    let bits = |tensor: &HostTensor, b: usize, i: usize| {
        tensor.floats()[(b * x.tokens + i) * x.channels..][..x.channels].iter().map(|v| v.to_bits()).collect::<Vec<_>>()
    };
    for (b, list) in index.iter().enumerate() {
        if let Some(i) = (0..x.tokens).find(|i| !list.contains(i) && bits(&y, b, *i) != bits(&x_tensor, b, *i)) {
            return Err(format!("row {i} of batch row {b} was not selected, and changed").into());
        }
    }
    let score = columns(&outputs["score"], 1, x.tokens as u32);
    let class_row = vec![vec![0]; x.batch];
    outputs.extend(
        [("score", score), ("y", y), ("attn_out", attended.tensor()), ("q_cls", q.gather(&class_row).tensor()), ("k", k.tensor())]
            .map(|(name, tensor)| (name.to_owned(), tensor)),
    );
    Ok(outputs)
}

/// The last row's attention to the image's tokens. The published code lets the first batch row decide for all.
pub fn fastv(golden: &Golden, side: Side<'_>) -> Result<HostTensors, Failure> {
    let first = |tensor: HostTensor| -> Result<HostTensor, Failure> {
        let [_, heads, tokens, channels] = tensor.shape().exactly("q, k", "[B, H, N, D]")?;
        let len = (heads * tokens * channels) as usize;
        Ok(HostTensor::f32([1, heads, tokens, channels], tensor.floats()[..len].to_vec()))
    };
    let mut feed = Feed::default();
    let queries = feed.input("q", first(golden.input("q")?)?);
    let keys = feed.input("k", first(golden.input("k")?)?);
    let hidden = golden.input("hidden")?;
    let [_, n, channels] = hidden.shape().exactly("hidden", "[B, N, C]")?;
    let row = HostTensor::f32([1, n, channels], hidden.floats()[..(n * channels) as usize].to_vec());
    let decides = feed.input("deciding row", row);
    let hidden = feed.input("hidden", hidden);
    let method =
        FastV { image_start: golden.count("sys_length")?, image_tokens: golden.count("image_length")?, rank: golden.count("rank")? };
    let graph = &mut feed.graph;
    let tokens = Tokens::new(graph, decides)?;
    let output = method.build(graph, &tokens, queries, keys)?;
    let map = output.pruned.compressed.map;
    let kept = map.representative.shape().elements() as u32;
    let index = graph.reshape(map.representative, [kept])?;
    let rows = gather_rows(graph, hidden, index, None)?;
    let ids = map.positions(graph, None, tokenpress::Positions::Keep)?;
    graph.output("hidden_kept", rows)?;
    graph.output("position_ids", ids)?;
    graph.output("keep_idx", index)?;
    // As the method has it, and once more over the image's columns alone.
    let sliced = AttentionScore {
        queries: Queries::Last,
        norm: Norm::Softmax,
        rows: RowReduction::Mean,
        heads: HeadReduction::Mean,
        causal: true,
        columns: Some(method.image_start..method.image_start + method.image_tokens),
        ..AttentionScore::default()
    };
    let inputs = AttentionInputs { queries, keys, bias: None, lengths: None, query_lengths: None };
    let sliced = sliced.score(graph, inputs)?.score;
    graph.output("score", sliced)?;
    graph.output("whole score", output.score)?;
    graph.output("rows by the method", output.pruned.compressed.tokens.x)?;
    let mut outputs = feed.run(side)?;
    let whole = columns(&outputs["whole score"], method.image_start, method.image_start + method.image_tokens);
    if whole.bytes() != outputs["score"].bytes() {
        return Err("a slice of the score is not the score of the slice".into());
    }
    let own = outputs.remove("rows by the method").ok_or("no rows")?;
    if outputs["hidden_kept"].bytes()[..own.bytes().len()] != *own.bytes() {
        return Err("the method's rows are not the kept ones".into());
    }
    Ok(outputs)
}
