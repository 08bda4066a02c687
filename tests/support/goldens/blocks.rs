//! Whole blocks and layers: EViT, IdleViT, FastV.

use tokenpress::kernels::{AttentionInputs, AttentionScore, HeadReduction, Norm, Queries, RowReduction, gather_rows};
use tokenpress::methods::{EVit, FastV, IdleVit, Images, KeyMask};
use tokenpress::readback::HostTensors;
use tokenpress::{Desc, HostTensor, Tokens};

use super::{Failure, Feed, Golden, Side};

/// Columns `from..to` of a tensor `[.., N]`.
pub fn columns(tensor: &HostTensor, from: u32, to: u32) -> HostTensor {
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

/// `x + attention`, the selection, `+ mlp` on what is left.
pub fn evit(golden: &Golden, side: Side<'_>) -> Result<HostTensors, Failure> {
    let mut feed = Feed::default();
    let block = feed.block(golden, "", 1e-5)?;
    let x = feed.input("x", golden.input("x")?);
    let graph = &mut feed.graph;
    let tokens = Tokens::new(graph, x)?;
    let method = EVit { keep: golden.number("keep_rate").ok_or("no keep_rate")?, fuse: golden.flag("fuse_token"), ..EVit::default() };
    let whole = method.block(graph, &tokens, &block)?;
    // The same calls once more, for what is between them.
    let projected = block.project(graph, x)?;
    let queries = block.attention.heads_first(graph, projected.queries)?;
    let keys = block.attention.heads_first(graph, projected.keys)?;
    let attended = block.attend(graph, x, projected, KeyMask { lengths: Some(tokens.lengths), ..KeyMask::default() })?;
    let selected = method.build(graph, &Tokens { x: attended, ..tokens }, queries, keys)?.compressed.tokens.x;
    for (name, tensor) in [
        ("x_selected", selected),
        ("y", whole.compressed.tokens.x),
        ("score", whole.score),
        ("selected", whole.selection.indices),
        ("q", queries),
        ("k", keys),
    ] {
        graph.output(name, tensor)?;
    }
    let mut outputs = feed.run(side)?;
    // The references count patches, without the class token.
    let score = columns(&outputs["score"], 1, outputs["score"].shape().dims()[1]);
    let selected = outputs.remove("selected").ok_or("no selection")?;
    let kept = columns(&selected, 1, selected.shape().dims()[1]);
    let kept = HostTensor::u32(kept.shape(), kept.integers().iter().map(|i| i.wrapping_sub(1)).collect());
    outputs.extend([("score", score), ("kept_idx", kept)].map(|(name, tensor)| (name.to_owned(), tensor)));
    Ok(outputs)
}

/// The selected rows go through the block, and back to their places.
pub fn idlevit(golden: &Golden, side: Side<'_>) -> Result<HostTensors, Failure> {
    let mut feed = Feed::default();
    let block = feed.block(golden, "", 1e-5)?;
    let value = golden.input("x")?;
    let x = feed.input("x", value.clone());
    let graph = &mut feed.graph;
    let tokens = Tokens::new(graph, x)?;
    let (y, chosen) = IdleVit { keep: golden.count("K")?, ..IdleVit::default() }.block(graph, &tokens, &block)?;
    // Of the selected rows by themselves: keys made after the selection, where the method selects among keys.
    let rows = chosen.pruned.compressed.tokens.x;
    let among = block.project(graph, rows)?;
    let attended = block.attention.attend(graph, among, KeyMask::default())?;
    let all = block.project(graph, x)?;
    let queries = block.attention.heads_first(graph, all.queries)?;
    let keys = block.attention.heads_first(graph, all.keys)?;
    let first = graph.constant(HostTensor::u32([1], vec![0]));
    let class = gather_rows(graph, queries, first, None)?;
    for (name, tensor) in [
        ("y", y),
        ("score", chosen.score),
        ("selected", chosen.pruned.selection.indices),
        ("attn_out", attended),
        ("q_cls", class),
        ("k", keys),
    ] {
        graph.output(name, tensor)?;
    }
    let mut outputs = feed.run(side)?;
    let [batch, count, channels] = value.shape().exactly("x", "[B, N, C]")?.map(|d| d as usize);
    let selected = outputs["selected"].integers();
    let bits =
        |tensor: &HostTensor, row: usize| tensor.floats()[row * channels..][..channels].iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    for row in 0..batch * count {
        let of_row = selected.len() / batch;
        let chosen = selected[row / count * of_row..][..of_row].contains(&((row % count) as u32));
        if !chosen && bits(&outputs["y"], row) != bits(&value, row) {
            return Err(format!("row {row} was not selected, and changed").into());
        }
    }
    let score = columns(&outputs["score"], 1, count as u32);
    outputs.insert("score".to_owned(), score);
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
    let (start, image_tokens) = (golden.count("sys_length")?, golden.count("image_length")?);
    let method = FastV { images: Images::Range { start, tokens: image_tokens }, rank: golden.count("rank")?, bias: None };
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
        columns: Some(start..start + image_tokens),
        ..AttentionScore::default()
    };
    let inputs = AttentionInputs { queries, keys, bias: None, lengths: None, query_lengths: None };
    let sliced = sliced.build(graph, inputs)?.score;
    graph.output("score", sliced)?;
    graph.output("whole score", output.score)?;
    graph.output("rows by the method", output.pruned.compressed.tokens.x)?;
    let mut outputs = feed.run(side)?;
    let whole = columns(&outputs["whole score"], start, start + image_tokens);
    if whole.bytes() != outputs["score"].bytes() {
        return Err("a slice of the score is not the score of the slice".into());
    }
    let own = outputs.remove("rows by the method").ok_or("no rows")?;
    if outputs["hidden_kept"].bytes()[..own.bytes().len()] != *own.bytes() {
        return Err("the method's rows are not the kept ones".into());
    }
    Ok(outputs)
}
