//! Systems that thin out the image tokens of a multimodal model.

use tokenpress::methods::{
    DensityClusters, DualAttention, Images, Prefill, PruMerge, PuMer, PuMerMerge, PyramidDrop, SparseVlm, TextScore, VisionZip, WindowMerge,
};
use tokenpress::readback::HostTensors;
use tokenpress::{Elem, HostTensor, Positions, Shape, Tokens};

use super::blocks::columns;
use super::{Failure, Feed, Golden, Side};

/// A shape without its last and with another number of rows.
fn with_rows(shape: Shape, rows: u32) -> Result<Shape, Failure> {
    Ok(match *shape.dims() {
        [batch, _] => [batch, rows].into(),
        [batch, _, channels] => [batch, rows, channels].into(),
        _ => return Err(format!("rows of {shape}").into()),
    })
}

/// Rows `from..to` of each batch row of a tensor `[B, N]` or `[B, N, C]`.
fn rows(tensor: &HostTensor, from: u32, to: u32) -> Result<HostTensor, Failure> {
    let dims = tensor.shape();
    let width = dims.dims()[2..].iter().product::<u32>();
    let flat = tensor.clone().reshaped([dims.dims()[0], dims.dims()[1] * width]);
    Ok(columns(&flat, from * width, to * width).reshaped(with_rows(dims, to - from)?))
}

/// A method's outputs behind the first `count` rows, which a single batch row has, are gone.
fn cut(outputs: &mut HostTensors, names: &[&str], count: &str) -> Result<(), Failure> {
    let count = outputs[count].integers()[0];
    for name in names {
        let kept = rows(&outputs[*name], 0, count)?;
        outputs.insert((*name).to_owned(), kept);
    }
    Ok(())
}

/// `[B, N, D]` as the keys or queries of one head.
fn one_head(tensor: HostTensor) -> Result<HostTensor, Failure> {
    let [b, n, d] = tensor.shape().exactly("q", "[B, N, D]")?;
    Ok(tensor.reshaped([b, 1, n, d]))
}

/// Positions among the patches are one less than among all tokens.
fn without_class(tensor: &HostTensor) -> Result<HostTensor, Failure> {
    rows(tensor, 1, tensor.shape().dims()[1])
}

pub fn visionzip(golden: &Golden, side: Side<'_>) -> Result<HostTensors, Failure> {
    let mut feed = Feed::default();
    let [x, queries, keys] = ["x", "q", "k"].map(|name| golden.input(name).map(|value| feed.input(name, value)));
    let (graph, method) =
        (&mut feed.graph, VisionZip { dominant: golden.count("dominant")?, contextual: golden.count("contextual")?, ..Default::default() });
    let tokens = Tokens::new(graph, x?)?;
    let zipped = method.build(graph, &tokens, queries?, keys?)?;
    for (name, tensor) in [
        ("y", zipped.compressed.tokens.x),
        ("score", zipped.score),
        ("dominant_rows", zipped.selection.indices),
        ("target_rows", zipped.targets),
        ("merged_rows", zipped.assigned.0),
        ("assign", zipped.assigned.1),
    ] {
        graph.output(name, tensor)?;
    }
    let mut outputs = feed.run(side)?;
    let score = without_class(&outputs["score"])?;
    outputs.insert("score".to_owned(), score);
    Ok(outputs)
}

pub fn prumerge(golden: &Golden, side: Side<'_>) -> Result<HostTensors, Failure> {
    let mut feed = Feed::default();
    let x = feed.input("x", without_class(&golden.input("x")?)?);
    let [queries, keys] = ["q", "k"].map(|name| Ok::<_, Failure>(feed.input(name, one_head(golden.input(name)?)?)));
    let graph = &mut feed.graph;
    let patches = Tokens::new(graph, x)?;
    let (neighbours, spatial) = (golden.count("k_nn")?, golden.flag("plus"));
    let method = PruMerge { neighbours, spatial, spatial_among: Some(575), count_from_ratio: true, ..Default::default() };
    let merged = method.build(graph, &patches, queries?, keys?)?;
    for (name, tensor) in [
        ("y", merged.compressed.tokens.x),
        ("length", merged.compressed.tokens.lengths),
        ("cls_attn", merged.score),
        ("upper_fence", merged.fence),
        ("n_outliers", merged.outliers),
        ("idx", merged.kept.0),
        ("kept", merged.kept.1),
        ("neighbors", merged.neighbours.indices),
    ] {
        graph.output(name, tensor)?;
    }
    let mut outputs = feed.run(side)?;
    cut(&mut outputs, &["y"], "length")?;
    cut(&mut outputs, &["idx", "neighbors"], "kept")?;
    // The nearest come first; the file has them by position.
    let nearest = outputs["neighbors"].shape();
    let width = nearest.dims()[2].max(1) as usize;
    let mut lists = outputs["neighbors"].integers().to_vec();
    lists.chunks_mut(width).for_each(<[u32]>::sort_unstable);
    debug_assert_eq!(outputs["neighbors"].desc().elem, Elem::U32);
    outputs.insert("neighbors".to_owned(), HostTensor::u32(nearest, lists));
    Ok(outputs)
}

/// RMSNorm, a projection to heads, and rotary embeddings of positions 0, 1, ..: `[1, heads, tokens, channels]`.
fn rotated(x: &HostTensor, norm: &HostTensor, weight: &HostTensor, heads: u32) -> Result<HostTensor, Failure> {
    let [_, tokens, width] = x.shape().exactly("x", "[1, N, C]")?.map(|d| d as usize);
    let [out, _] = weight.shape().exactly("w", "[out, in]")?.map(|d| d as usize);
    let channels = out / heads as usize;
    let double = |tensor: &HostTensor| tensor.floats().into_iter().map(f64::from).collect::<Vec<f64>>();
    let (x, norm, weight) = (double(x), double(norm), double(weight));
    let mut values = vec![0.0; tokens * out];
    for (token, row) in x.chunks(width).enumerate() {
        let scale = 1.0 / (row.iter().map(|v| v * v).sum::<f64>() / width as f64 + 1e-6).sqrt();
        let y: Vec<f64> = weight.chunks(width).map(|w| w.iter().zip(row).zip(&norm).map(|((w, v), n)| w * v * scale * n).sum()).collect();
        for (head, y) in y.chunks(channels).enumerate() {
            for c in 0..channels {
                let half = channels / 2;
                let angle = token as f64 / 10000f64.powf(2.0 * (c % half) as f64 / channels as f64);
                let other = if c < half { -y[c + half] } else { y[c - half] };
                values[(head * tokens + token) * channels + c] = (y[c] * angle.cos() + other * angle.sin()) as f32;
            }
        }
    }
    Ok(HostTensor::f32([1, heads, tokens as u32, channels as u32], values))
}

/// Entries of a list of positions that lie in `start..start + count`, counted from `start`.
fn within(list: &[u32], start: u32, count: u32) -> Vec<u32> {
    list.iter().filter(|i| (start..start + count).contains(*i)).map(|i| i - start).collect()
}

fn list(values: Vec<u32>) -> HostTensor {
    HostTensor::u32([values.len() as u32], values)
}

pub fn pyramiddrop(golden: &Golden, side: Side<'_>) -> Result<HostTensors, Failure> {
    let x = golden.input("x")?;
    let [norm, q, k] = ["w.input_layernorm", "w.q_proj", "w.k_proj"].map(|name| golden.input(name));
    let norm = norm?;
    let queries = rotated(&x, &norm, &q?, golden.count("heads")?)?;
    let keys = rotated(&x, &norm, &k?, golden.count("kv_heads")?)?;
    let (start, now, keep, stage) =
        (golden.count("image_start")?, golden.count("image_tokens_now")?, golden.count("keep")?, golden.count("stage")? as usize);
    // The file's ratios begin with the first layers', and it does not say of how many tokens.
    let ratios = golden.numbers("ratios").ok_or("no ratios")?;
    let share = |n: u32, stage: usize| (f64::from(n) * ratios[stage]) as u32;
    let all = (now..=now * 1000).find(|n| share(*n, stage) == now && share(*n, stage + 1) == keep).ok_or("no such number of tokens")?;
    let method = PyramidDrop { images: Images::Range { start, tokens: all }, ratios, ..PyramidDrop::default() };

    let mut feed = Feed::default();
    let [x, queries, keys] = [("x", x), ("q", queries), ("k", keys)].map(|(name, value)| feed.input(name, value));
    let graph = &mut feed.graph;
    let tokens = Tokens::new(graph, x)?;
    let kept = method.build(graph, &tokens, stage + 1, queries, keys)?;
    let positions = kept.pruned.compressed.map.positions(graph, None, Positions::Compact)?;
    graph.output("y", kept.pruned.compressed.tokens.x)?;
    graph.output("score", kept.score)?;
    graph.output("indices", kept.pruned.selection.indices)?;
    graph.output("position_ids", positions)?;
    let mut outputs = feed.run(side)?;
    let score = columns(&outputs["score"], start, start + now);
    outputs.insert("score".to_owned(), score);
    let image = outputs["indices"].integers().iter().copied().filter(|i| (start..start + now).contains(i)).collect();
    outputs.insert("keep_idx".to_owned(), list(image));
    Ok(outputs)
}

pub fn sparsevlm(golden: &Golden, side: Side<'_>) -> Result<HostTensors, Failure> {
    let (start, count) = (golden.count("v_start")?, golden.count("v_num")?);
    let method = SparseVlm { images: Images::Range { start, tokens: count }, rank: golden.count("k_keep")?, recycle: false, bias: None };
    let mut feed = Feed::default();
    let [x, queries, keys] = ["hidden", "q", "k"].map(|name| golden.input(name).map(|value| feed.input(name, value)));
    let graph = &mut feed.graph;
    let tokens = Tokens::new(graph, x?)?;
    let raters = method.raters(graph, &tokens)?;
    let kept = method.build(graph, &tokens, &raters, queries?, keys?)?;
    for (name, tensor) in [
        ("rater_score", raters.score),
        ("raters", raters.listed.indices),
        ("rater_count", raters.listed.counts),
        ("score", kept.score),
        ("indices", kept.selection.indices),
    ] {
        graph.output(name, tensor)?;
    }
    let mut outputs = feed.run(side)?;
    cut(&mut outputs, &["raters"], "rater_count")?;
    let score = columns(&outputs["score"], start, start + count);
    outputs.insert("score".to_owned(), score);
    let image = within(outputs["indices"].integers(), start, count);
    let mask = (0..count).map(|i| u32::from(image.contains(&i))).collect();
    outputs.insert("keep_mask".to_owned(), list(mask));
    outputs.insert("keep_idx".to_owned(), list(image));
    Ok(outputs)
}

pub fn clusters(golden: &Golden, side: Side<'_>) -> Result<HostTensors, Failure> {
    let clusters = golden.count("cluster_num")?;
    let mut feed = Feed::default();
    let x = feed.input("x", golden.input("x")?);
    let graph = &mut feed.graph;
    let tokens = Tokens::new(graph, x)?;
    let merged = DensityClusters { clusters, nearest: clusters }.build(graph, &tokens)?;
    for (name, tensor) in [
        ("y", merged.compressed.tokens.x),
        ("assign", merged.compressed.map.parent),
        ("centers", merged.compressed.map.representative),
        ("density", merged.peaks.density),
        ("delta", merged.peaks.separation),
        ("score", merged.peaks.score),
    ] {
        graph.output(name, tensor)?;
    }
    feed.run(side)
}

pub fn windows(golden: &Golden, side: Side<'_>) -> Result<HostTensors, Failure> {
    let side_of_grid = golden.count("grid")?;
    let threshold = golden.number("threshold").ok_or("no threshold")? as f32;
    let method = WindowMerge {
        height: side_of_grid,
        width: side_of_grid,
        window: golden.count("window")?,
        threshold,
        shared_count: true,
        ..WindowMerge::default()
    };
    let mut feed = Feed::default();
    let x = feed.input("x", golden.input("x")?);
    let graph = &mut feed.graph;
    let tokens = Tokens::new(graph, x)?;
    let merged = method.build(graph, &tokens)?;
    for (name, tensor) in [
        ("y", merged.compressed.tokens.x),
        ("size", merged.compressed.tokens.size),
        ("length", merged.compressed.tokens.lengths),
        ("parent", merged.compressed.map.parent),
        ("window_score", merged.score),
        ("merged_windows", merged.selection.indices),
        ("merged", merged.selection.kept),
    ] {
        graph.output(name, tensor)?;
    }
    let mut outputs = feed.run(side)?;
    cut(&mut outputs, &["y", "size"], "length")?;
    cut(&mut outputs, &["merged_windows"], "merged")?;
    Ok(outputs)
}

/// Zeros behind the rows of `[1, H, N, D]`.
fn padded(tensor: &HostTensor, capacity: u32) -> Result<HostTensor, Failure> {
    let [b, h, n, d] = tensor.shape().exactly("q", "[1, H, N, D]")?;
    let fill = vec![0.0; ((capacity - n) * d) as usize];
    let values = tensor.floats().chunks((n * d) as usize).flat_map(|head| [head, &fill].concat()).collect();
    Ok(HostTensor::f32([b, h, capacity, d], values))
}

pub fn dual_attention(golden: &Golden, side: Side<'_>) -> Result<HostTensors, Failure> {
    let (start, stages) = (golden.count("v_start")?, golden.count("stages")? as usize);
    let [global, individual] = ["global_thr", "individual_thr"].map(|key| golden.numbers(key).ok_or("no thresholds"));
    let (global, individual) = (global?, individual?);
    let mut feed = Feed::default();
    let x = feed.input("hidden", golden.input("hidden")?);
    let key = golden.input("key_set")?;
    let key_count = key.shape().elements() as u32;
    let key = feed.input("key_set", key.reshaped([1, key_count]));
    let tokens = Tokens::new(&mut feed.graph, x)?;
    let images = Images::Range { start, tokens: golden.count("image_tokens")? };
    let mut prompt = Prefill::new(&mut feed.graph, tokens, images, key)?;
    let mut maps = Vec::new();
    for stage in 0..stages {
        let [queries, keys] = ["q", "k"].map(|name| {
            let name = format!("{name}{stage}");
            Ok::<_, Failure>(feed.input(&name, padded(&golden.input(&name)?, tokens.capacity())?))
        });
        let graph = &mut feed.graph;
        let method = DualAttention { global: global[stage] as f32, individual: individual[stage] as f32, floor: 0 };
        let kept = method.build(graph, &prompt, queries?, keys?)?;
        prompt = kept.prompt;
        maps.push(kept.map);
        for (name, tensor) in [
            ("hidden", prompt.tokens.x),
            ("stage_map", kept.map.representative),
            ("length", kept.map.lengths),
            ("unattended", kept.unattended),
            ("key_set", prompt.key),
        ] {
            graph.output(&format!("{name}{stage}"), tensor)?;
        }
    }
    // What is left of each layer's cache in the end.
    for stage in 0..stages {
        let mut map = maps[stage];
        for next in &maps[stage + 1..] {
            map = map.then(&mut feed.graph, next)?;
        }
        feed.output(&format!("kv_map{stage}"), map.representative)?;
    }
    let mut outputs = feed.run(side)?;
    let mut image = golden.count("image_tokens")?;
    for stage in 0..stages {
        let name = |name: &str| format!("{name}{stage}");
        cut(&mut outputs, &[&name("hidden"), &name("stage_map")], &name("length"))?;
        cut(&mut outputs, &[&name("kv_map")], &format!("length{}", stages - 1))?;
        let survivors = within(outputs[&name("stage_map")].integers(), start, image);
        let unattended = outputs[&name("unattended")].integers();
        let kept = (0..image).filter(|i| unattended[(start + i) as usize] == 0).collect();
        let key = outputs[&name("key_set")].integers().iter().map(|i| i.wrapping_sub(start)).collect();
        image = survivors.len() as u32;
        outputs.insert(name("survivors"), list(survivors));
        outputs.insert(name("filter_kept"), list(kept));
        outputs.insert(name("key_set"), list(key));
    }
    Ok(outputs)
}

pub fn pumer(golden: &Golden, side: Side<'_>) -> Result<HostTensors, Failure> {
    let share = |key: &str| golden.number(key).ok_or(format!("no {key}"));
    let method = PuMer {
        prune: share("p")?,
        floor: 1,
        merge: share("r")?,
        merge_text: share("t")?,
        score: match golden.text("sim_method") {
            Some("first_head") => TextScore::FirstHead,
            Some("k_metric") => TextScore::Keys,
            Some("mean_head") => TextScore::MeanOfHeads,
            other => return Err(format!("sim_method {other:?}").into()),
        },
        style: match golden.text("merge_style") {
            Some("tome") => PuMerMerge::Average,
            Some("tip") => PuMerMerge::Sum,
            Some("diff") => PuMerMerge::ScoreDifference,
            other => return Err(format!("merge_style {other:?}").into()),
        },
    };
    let mut feed = Feed::default();
    let [x, queries, keys, mask] = ["x", "q", "k", "text_mask"].map(|name| golden.input(name).map(|value| feed.input(name, value)));
    let lengths: Vec<u32> = golden.numbers("true_text_lens").ok_or("no true_text_lens")?.into_iter().map(|n| n as u32).collect();
    let lengths = feed.input("lengths", list(lengths));
    let graph = &mut feed.graph;
    let tokens = Tokens::new(graph, x?)?;
    let reduced = method.build(graph, &tokens, (mask?, lengths), queries?, keys?)?;
    for (name, tensor) in [
        ("y", reduced.compressed.tokens.x),
        ("mask", reduced.mask),
        ("score", reduced.score),
        ("keep_idx", reduced.selection.indices),
        ("text_lengths", reduced.text_lengths),
    ] {
        graph.output(name, tensor)?;
    }
    let mut outputs = feed.run(side)?;
    // The same in every row.
    let text = outputs["text_lengths"].integers()[0];
    outputs.insert("text_len".to_owned(), list(vec![text]));
    Ok(outputs)
}
