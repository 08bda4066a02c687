//! ToMe and tomesd.

use tokenpress::kernels::{
    AssignInputs, AssignTokens, Assignment, BipartiteMatch, Convolution, LayerNorm, Order, Partition, Reduce, TopK, TopKInputs, add,
    concat_rows, linear, row_normalize,
};
use tokenpress::methods::{Matching, Merging, Protect, ToMe};
use tokenpress::readback::HostTensors;
use tokenpress::schedule::MergeSchedule;
use tokenpress::{Graph, HostTensor, Tensor, TokenMap, Tokens};

use super::{Failure, Feed, Golden, Side};

/// Two tokens of a class and a distillation token, one of a class token.
fn protect(golden: &Golden) -> Protect {
    Protect::Leading(u32::from(golden.flag("class_token")) + u32::from(golden.flag("distill_token")))
}

/// Token 1 is protected, token 0 is not. The paper has no such model, and the crate's methods no such order: the distillation token as a
/// destination that nothing merges into, in the second row.
fn distillation_alone(graph: &mut Graph, tokens: &Tokens, metric: Tensor, merge: u32) -> Result<Merging, Failure> {
    let (batch, capacity) = (tokens.batch(), tokens.capacity());
    let merge = merge.min((capacity - 1) / 2);
    let unit = row_normalize(graph, metric, None)?;
    let partition = Partition::even_odd(graph, capacity);
    let matches = BipartiteMatch { protected_sources: 0, protected_destinations: 1 }.build(graph, unit, partition, None)?;
    let select = TopK { k: merge, complement: Some(Order::Value), ..TopK::default() };
    let selection = select.build(graph, TopKInputs::new(matches.similarity))?;
    let unmerged = selection.complement.ok_or("no complement")?;
    let inputs = AssignInputs { partition, lengths: None, partner: matches.partner, unmerged };
    let assign = AssignTokens { tokens: capacity, outputs: capacity - merge, interleave: true };
    let Assignment { parent, representative, lengths } = assign.build(graph, inputs)?;
    debug_assert_eq!(lengths.shape().dims(), [batch]);
    Ok(Merging { map: TokenMap { parent, representative, lengths }, partition, matches, selection })
}

/// What a match decided, as outputs under names that end in `suffix`: indices into the lists of sources and
/// destinations, and the lists.
fn output_decision(graph: &mut Graph, merging: &Merging, suffix: &str) -> Result<(), Failure> {
    let unmerged = merging.selection.complement.ok_or("no complement")?;
    for (name, tensor) in [
        ("selected", merging.selection.indices),
        ("unmerged list", unmerged),
        ("kept", merging.selection.kept),
        ("partner", merging.matches.partner),
        ("sources", merging.partition.sources),
        ("destinations", merging.partition.destinations),
    ] {
        graph.output(&format!("{name}{suffix}"), tensor)?;
    }
    Ok(())
}

/// `src`, `dst` and `unm` in token positions, from the outputs of [`output_decision`].
fn positions(outputs: &mut HostTensors, suffix: &str, distillation: bool) -> Result<(), Failure> {
    let take =
        |outputs: &mut HostTensors, name: &str| outputs.remove(&format!("{name}{suffix}")).ok_or_else(|| format!("no output {name}"));
    let selected = take(outputs, "selected")?;
    let unmerged = take(outputs, "unmerged list")?;
    let kept = take(outputs, "kept")?;
    let partner = take(outputs, "partner")?;
    let (sources, destinations) = (take(outputs, "sources")?, take(outputs, "destinations")?);
    let (mut src, mut dst, mut unm) = (Vec::new(), Vec::new(), Vec::new());
    let batch = selected.shape().dims()[0];
    let row = |tensor: &HostTensor, b: usize| -> Vec<u32> {
        let dims = tensor.shape();
        let width = *dims.dims().last().unwrap_or(&0) as usize;
        let first = if dims.dims().len() == 1 { 0 } else { b * width };
        tensor.integers()[first..first + width].to_vec()
    };
    for b in 0..batch as usize {
        let (sources, destinations, partner) = (row(&sources, b), row(&destinations, b), row(&partner, b));
        let merged = kept.integers()[b] as usize;
        for &index in &row(&selected, b)[..merged] {
            src.push(sources[index as usize]);
            dst.push(destinations[partner[index as usize] as usize]);
        }
        let stay = row(&unmerged, b)[..sources.len() - merged].iter().map(|&index| sources[index as usize]).collect::<Vec<_>>();
        // A distillation token is a source that stays here, and one of the destinations there.
        unm.extend(stay.into_iter().filter(|position| !distillation || *position != 1));
    }
    for (name, list) in [("src", src), ("dst", dst), ("unm", unm)] {
        let width = list.len() as u32 / batch.max(1);
        outputs.insert(format!("{name}{suffix}"), HostTensor::u32([batch, width], list));
    }
    Ok(())
}

/// A tensor `[B, N, 1]` or `[B, N]` of sizes as `[B, N]`.
fn sizes(size: HostTensor) -> HostTensor {
    let dims = [size.shape().dims()[0], size.shape().dims()[1]];
    size.reshaped(dims)
}

/// One matching, and every reduction by it.
pub fn bipartite(golden: &Golden, side: Side<'_>) -> Result<HostTensors, Failure> {
    let mut feed = Feed::default();
    let x = feed.input("x", golden.input("x")?);
    let metric = feed.input("metric", golden.input("metric")?);
    let size = golden.optional_input("size")?.map(|size| feed.input("size", sizes(size)));
    let tome = ToMe { merge: golden.count("r")?, protect: protect(golden), ..Default::default() };
    let graph = &mut feed.graph;
    let tokens = Tokens::new(graph, x)?;

    let decision = match golden.flag("distill_token") && !golden.flag("class_token") {
        true => Some(distillation_alone(graph, &tokens, metric, tome.merge)?),
        false => tome.decide(graph, &tokens, metric)?,
    };
    let build = |graph: &mut Graph, tokens: &Tokens| match &decision {
        Some(merging) => merging.map.compress(graph, tokens, Some(tokens.size), Reduce::WeightedMean),
        None => tome.build(graph, tokens, metric),
    };
    let one = build(graph, &tokens)?;
    graph.output("wavg1_x", one.tokens.x)?;
    graph.output("wavg1_size", one.tokens.size)?;
    graph.output("parent", one.map.parent)?;
    if let Some(size) = size {
        let sized = build(graph, &Tokens { size, ..tokens })?;
        graph.output("wavg_x", sized.tokens.x)?;
        graph.output("wavg_size", sized.tokens.size)?;
    }
    reductions(graph, one.map, x, &[("merged_mean", Reduce::Mean), ("merged_sum", Reduce::Sum), ("merged_amax", Reduce::Max)])?;
    if let Some(merging) = &decision {
        output_decision(graph, merging, "")?;
    }
    let mut outputs = feed.run(side)?;
    if decision.is_some() {
        positions(&mut outputs, "", golden.flag("distill_token"))?;
    }
    Ok(outputs)
}

/// Reductions of `x` by a map, and the undoing of the first.
fn reductions(graph: &mut Graph, map: TokenMap, x: Tensor, kinds: &[(&str, Reduce)]) -> Result<(), Failure> {
    for (index, (name, reduce)) in kinds.iter().enumerate() {
        let merged = map.merge(graph, x, None, *reduce)?;
        graph.output(name, merged)?;
        if index == 0 {
            let unmerged = map.unmerge(graph, merged, None)?;
            graph.output("unmerged", unmerged)?;
        }
    }
    Ok(())
}

/// Every k-th token is a destination; tokens past the last whole group are gone.
pub fn kth(golden: &Golden, side: Side<'_>) -> Result<HostTensors, Failure> {
    let mut feed = Feed::default();
    let x = feed.input("x", golden.input("x")?);
    let metric = feed.input("metric", golden.input("metric")?);
    let k = golden.count("k")?;
    let [batch, n, channels] = x.shape().exactly("x", "[B, N, C]")?;
    let graph = &mut feed.graph;
    let tokens = Tokens::new(graph, x)?;
    let merging = ToMe { matching: Matching::Kth(k), ..ToMe::default() }.decide(graph, &tokens, metric)?;
    let map = match &merging {
        Some(merging) => merging.map,
        None => TokenMap::identity(graph, &tokens)?,
    };
    reductions(graph, map, x, &[("merged_mean", Reduce::Mean), ("merged_sum", Reduce::Sum)])?;
    if let Some(merging) = &merging {
        graph.output("dst_of_src", merging.matches.partner)?;
    }
    let mut outputs = feed.run(side)?;
    outputs.entry("dst_of_src".to_owned()).or_insert_with(|| HostTensor::u32([batch, 0], Vec::new()));
    let whole = (n - n % k.max(1)) as usize * channels as usize;
    let unmerged = outputs["unmerged"].floats();
    let rows: Vec<f32> = unmerged.chunks((n * channels).max(1) as usize).flat_map(|row| row[..whole].iter().copied()).collect();
    outputs.insert("unmerged".to_owned(), HostTensor::f32([batch, n - n % k.max(1), channels], rows));
    Ok(outputs)
}

/// Layers one behind the other: projection, matching, weighted merge, and where the first tokens are.
pub fn chain(golden: &Golden, side: Side<'_>) -> Result<HostTensors, Failure> {
    let mut feed = Feed::default();
    let x = feed.input("x", golden.input("x")?);
    let mut tokens = Tokens::new(&mut feed.graph, x)?;
    let mut whole: Option<TokenMap> = None;
    let merges = golden.numbers("r").ok_or("no list r")?;
    let mut decided = Vec::new();
    for (index, merge) in merges.iter().enumerate() {
        let layer = index + 1;
        // Stored as [C, Cm], for x @ w.
        let weight = golden.input(&format!("w{layer}"))?;
        let [rows, columns] = weight.shape().exactly("w", "[C, Cm]")?;
        let values = weight.floats();
        let transposed = (0..columns).flat_map(|c| (0..rows).map(move |r| (r * columns + c) as usize)).map(|i| values[i]).collect();
        let weight = feed.input(&format!("w{layer}"), HostTensor::f32([columns, rows], transposed));
        let graph = &mut feed.graph;
        let metric = linear(graph, tokens.x, weight, None)?;
        let tome = ToMe { merge: *merge as u32, protect: protect(golden), ..Default::default() };
        if let Some(merging) = tome.decide(graph, &tokens, metric)? {
            output_decision(graph, &merging, &layer.to_string())?;
            decided.push(layer);
        }
        let merged = tome.build(graph, &tokens, metric)?;
        tokens = merged.tokens;
        let map = match whole {
            None => merged.map,
            Some(before) => before.then(graph, &merged.map)?,
        };
        whole = Some(map);
        graph.output(&format!("x{layer}"), tokens.x)?;
        graph.output(&format!("size{layer}"), tokens.size)?;
        graph.output(&format!("parent{layer}"), map.parent)?;
    }
    let mut outputs = feed.run(side)?;
    for layer in decided {
        positions(&mut outputs, &layer.to_string(), false)?;
    }
    Ok(outputs)
}

/// A whole vision transformer with a merge in each block.
pub fn vit(golden: &Golden, side: Side<'_>) -> Result<HostTensors, Failure> {
    let mut feed = Feed::default();
    let image = golden.input("image")?;
    let [batch, colours, height, width] = image.shape().exactly("image", "[B, 3, H, W]")?;
    // The kernels have channels last.
    let (plane, values) = ((height * width) as usize, image.floats());
    let pixels = values.chunks((colours as usize * plane).max(1));
    let pixels = pixels.flat_map(|one| (0..plane).flat_map(move |i| (0..colours as usize).map(move |c| one[c * plane + i]))).collect();
    let pixels = feed.input("image", HostTensor::f32([batch, height * width, colours], pixels));
    let embed = feed.affine(golden, "patch_embed.proj")?;
    let class = golden.optional_input("w.cls_token")?.map(|token| {
        let value = HostTensor::f32([batch, 1, token.shape().dims()[2]], token.floats().repeat(batch as usize));
        feed.input("cls_token", value)
    });
    let places = feed.weight(golden, "pos_embed")?;
    let blocks = (0..golden.count("depth")?).map(|l| feed.block(golden, &format!("blocks.{l}."), 1e-6)).collect::<Result<Vec<_>, _>>()?;
    let last = feed.affine(golden, "norm")?;

    let graph = &mut feed.graph;
    let patches = Convolution { stride: [golden.count("patch")?; 2], padding: [0, 0] };
    let patches = patches.dense(graph, pixels, [height, width], embed.weight, embed.bias)?;
    let x = match class {
        Some(class) => concat_rows(graph, (class, None), (patches, None))?.0,
        None => patches,
    };
    let x = add(graph, x, places)?;
    let mut tokens = Tokens::new(graph, x)?;
    let mut whole = TokenMap::identity(graph, &tokens)?;
    let schedule = golden.numbers("r_schedule").ok_or("no list r_schedule")?;
    let mut decided = Vec::new();
    for (layer, (block, merge)) in blocks.iter().zip(schedule.into_iter().chain(std::iter::repeat(0.0))).enumerate() {
        let tome = ToMe { merge: merge as u32, protect: protect(golden), ..ToMe::default() };
        let merged = tome.block(graph, &tokens, block, golden.flag("prop_attn"))?;
        // The same calls once more, for what was decided.
        let projected = block.project(graph, tokens.x)?;
        let metric = block.attention.heads_first(graph, projected.keys)?;
        if let Some(merging) = tome.decide(graph, &tokens, metric)? {
            output_decision(graph, &merging, &layer.to_string())?;
            decided.push(layer);
        }
        tokens = merged.tokens;
        whole = whole.then(graph, &merged.map)?;
        graph.output(&format!("block{layer}"), tokens.x)?;
    }
    let features = LayerNorm::new(1e-6).build(graph, tokens.x, Some(last.weight), last.bias)?;
    graph.output("features", features)?;
    graph.output("size", tokens.size)?;
    graph.output("parent", whole.parent)?;
    let mut outputs = feed.run(side)?;
    for layer in decided {
        positions(&mut outputs, &layer.to_string(), false)?;
    }
    Ok(outputs)
}

/// Tokens to merge at each layer.
pub fn parse_r(golden: &Golden, _side: Side<'_>) -> Result<HostTensors, Failure> {
    let layers = golden.count("layers").or_else(|_| Ok::<_, Failure>(golden.input("layers")?.integers()[0]))?;
    let list = golden.numbers("r_arg");
    let schedule = match (golden.text("r_kind"), list) {
        (Some("tuple"), Some(pair)) if pair.len() == 2 => MergeSchedule::Linear { merge: pair[0] as u32, inflect: pair[1] },
        (Some("tuple"), _) => return Err("a tuple of (r, inflect)".into()),
        (_, Some(list)) => MergeSchedule::List(list.into_iter().map(|r| r as u32).collect()),
        (_, None) => MergeSchedule::Constant(golden.count("r_arg")?),
    };
    // The published function hands a list that is longer than there are layers back whole.
    let listed = if let MergeSchedule::List(list) = &schedule { list.len() } else { 0 };
    let counts = schedule.counts(listed.max(layers as usize))?;
    Ok([("r".to_owned(), HostTensor::u32([counts.len() as u32], counts))].into())
}

/// tomesd: one destination in each cell of a grid.
pub fn random2d(golden: &Golden, side: Side<'_>) -> Result<HostTensors, Failure> {
    let mut feed = Feed::default();
    let x = feed.input("x", golden.input("x")?);
    let metric = feed.input("metric", golden.input("metric")?);
    let [h, w, sy, sx] = ["h", "w", "sy", "sx"].map(|key| golden.count(key));
    let offsets = match golden.optional_input("rand_idx")? {
        Some(offsets) if !golden.flag("no_rand") => offsets.integers().to_vec(),
        _ => Vec::new(),
    };
    let graph = &mut feed.graph;
    let tokens = Tokens::new(graph, x)?;
    let partition = Partition::grid2d(graph, h?, w?, sy?, sx?, &offsets)?;
    let tome = ToMe { merge: golden.count("r")?, protect: Protect::NONE, matching: Matching::Lists(partition), ..Default::default() };
    let merging = tome.decide(graph, &tokens, metric)?;
    let map = match &merging {
        Some(merging) => merging.map,
        None => TokenMap::identity(graph, &tokens)?,
    };
    reductions(graph, map, x, &[("merged", Reduce::Mean)])?;
    if let Some(merging) = &merging {
        output_decision(graph, merging, "")?;
    }
    graph.output("dst_positions", partition.destinations)?;
    let mut outputs = feed.run(side)?;
    if merging.is_some() {
        positions(&mut outputs, "", golden.flag("distill_token"))?;
    } else {
        let empty = HostTensor::u32([tokens.batch(), 0], Vec::new());
        outputs.extend(["src", "dst", "unm"].map(|name| (name.to_owned(), empty.clone())));
    }
    Ok(outputs)
}
