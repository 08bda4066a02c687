//! The methods that the example offers, and chains of them with a schedule.

use tokenpress::kernels::{AttentionInputs, AttentionScore, Order, mark};
use tokenpress::methods::{EVit, MultiHeadAttention, Projected, Protect, Prune, ToMe};
use tokenpress::random::random_u32;
use tokenpress::{Compressed, Error, Graph, HostTensor, Tensor, TokenMap, Tokens};

/// A way to compress within a layer.
pub(crate) struct Method {
    /// As `--compress` has it.
    pub(crate) name: &'static str,
    /// What becomes of the tokens, in a few words.
    pub(crate) about: &'static str,
    /// Its numbers, and what they are unless given.
    pub(crate) numbers: &'static [(&'static str, f64)],
    /// Layers, counted from 1, where it works unless told; every one for none.
    pub(crate) layers: &'static [usize],
    /// Whether tokens are dropped, and not merged into others.
    pub(crate) drops: bool,
    /// Adds the calls to the graph.
    pub(crate) build: fn(&mut Graph, &Layer, &Step) -> Result<Compressed, Error>,
}

pub(crate) const METHODS: &[Method] = &[
    Method {
        name: "tome",
        about: "merges the r tokens of the most similar keys (ToMe), or all above a similarity (DyMU)",
        numbers: &[("r", f64::INFINITY), ("threshold", f64::NEG_INFINITY)],
        layers: &[],
        drops: false,
        build: tome,
    },
    Method {
        name: "topk",
        about: "keeps the patches that the class token attends to most, and drops the others",
        numbers: &[("keep", 128.0)],
        layers: &[3],
        drops: true,
        build: top_k,
    },
    Method {
        name: "evit",
        about: "keeps this share of the patches by the class token's attention, and fuses the others into one (EViT)",
        numbers: &[("keep", 0.7)],
        layers: &[4, 7, 10],
        drops: false,
        build: evit,
    },
    Method {
        name: "random",
        about: "keeps patches at random: what any choice must beat",
        numbers: &[("keep", 128.0), ("seed", 0.0)],
        layers: &[3],
        drops: true,
        build: random,
    },
    Method { name: "pool", about: "averages k x k patches; comes first", numbers: &[("k", 2.0)], layers: &[3], drops: false, build: pool },
];

/// What a method finds in a layer, behind its attention.
pub(crate) struct Layer {
    pub(crate) tokens: Tokens,
    pub(crate) projected: Projected,
    pub(crate) attention: MultiHeadAttention,
    /// Rows and columns of patches before the first layer.
    pub(crate) grid: u32,
}

/// A method of a chain with its numbers.
pub(crate) struct Step {
    pub(crate) method: &'static Method,
    /// Counted from 0; every one for none.
    pub(crate) layers: Vec<usize>,
    numbers: Vec<f64>,
}

/// `NAME[:KEY=NUMBER,..]+..` for a model of so many layers.
pub(crate) fn chain(text: &str, layers: usize) -> Result<Vec<Step>, String> {
    text.split('+').map(|step| parse(step, layers)).collect()
}

fn parse(text: &str, layers: usize) -> Result<Step, String> {
    let (name, pairs) = text.split_once(':').unwrap_or((text, ""));
    let names: Vec<_> = METHODS.iter().map(|m| m.name).collect();
    let method = METHODS.iter().find(|m| m.name == name);
    let method = method.ok_or_else(|| format!("there is no method {name:?}, only {}", names.join(", ")))?;
    let mut numbers: Vec<f64> = method.numbers.iter().map(|(_, number)| *number).collect();
    let mut chosen: Vec<usize> = method.layers.to_vec();
    for pair in pairs.split(',').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        if key == "layer" {
            let layer = |n: &str| n.parse().ok().filter(|n| (1..=layers).contains(n));
            let wrong = || format!("layer={value} is no list of layers from 1 to {layers}, like layer=3 or layer=4/7/10");
            chosen = value.split('/').map(layer).collect::<Option<_>>().ok_or_else(wrong)?;
            continue;
        }
        let known: Vec<_> = method.numbers.iter().map(|(name, _)| *name).collect();
        let index = known.iter().position(|name| *name == key);
        let index = index.ok_or_else(|| format!("{name} has no {key:?}, only {} and layer", known.join(", ")))?;
        let number = value.parse().ok().filter(|number: &f64| *number >= 0.0);
        numbers[index] = number.ok_or_else(|| format!("{key} of {name} must be a number from 0 on, not {value:?}"))?;
    }
    if name == "tome" && numbers.iter().all(|n| n.is_infinite()) {
        return Err("tome needs a number of tokens to merge at every layer, tome:r=8, or tome:threshold=0.9".to_owned());
    }
    Ok(Step { method, layers: chosen.iter().map(|layer| layer - 1).filter(|layer| *layer < layers).collect(), numbers })
}

fn tome(graph: &mut Graph, layer: &Layer, step: &Step) -> Result<Compressed, Error> {
    let keys = layer.attention.heads_first(graph, layer.projected.keys)?;
    let threshold = Some(step.numbers[1] as f32).filter(|threshold| threshold.is_finite());
    // `as` saturates: without a number, as many as there are.
    ToMe { merge: step.numbers[0] as u32, threshold, protect: Protect::CLASS, ..ToMe::default() }.build(graph, &layer.tokens, keys)
}

fn top_k(graph: &mut Graph, layer: &Layer, step: &Step) -> Result<Compressed, Error> {
    let queries = layer.attention.heads_first(graph, layer.projected.queries)?;
    let keys = layer.attention.heads_first(graph, layer.projected.keys)?;
    let lengths = Some(layer.tokens.lengths);
    let inputs = AttentionInputs { queries, keys, bias: None, lengths, query_lengths: None };
    let score = AttentionScore::default().score(graph, inputs)?.score;
    keep_best(graph, layer, score, step.numbers[0] as u32)
}

fn evit(graph: &mut Graph, layer: &Layer, step: &Step) -> Result<Compressed, Error> {
    let queries = layer.attention.heads_first(graph, layer.projected.queries)?;
    let keys = layer.attention.heads_first(graph, layer.projected.keys)?;
    Ok(EVit { keep: step.numbers[0], fuse: true }.build(graph, &layer.tokens, queries, keys)?.compressed)
}

fn random(graph: &mut Graph, layer: &Layer, step: &Step) -> Result<Compressed, Error> {
    let count = layer.tokens.capacity();
    let scores = (0..count).map(|token| random_u32(step.numbers[1] as u32, token.into()) as f32).collect();
    let scores = graph.constant(HostTensor::f32([1, count], scores));
    keep_best(graph, layer, scores, step.numbers[0] as u32)
}

/// The class token and so many patches of the highest scores, in their order.
fn keep_best(graph: &mut Graph, layer: &Layer, scores: Tensor, keep: u32) -> Result<Compressed, Error> {
    let count = layer.tokens.capacity();
    let marks = (0..count).map(|token| if token == 0 { mark::PROTECTED } else { mark::CANDIDATE }).collect();
    let marks = graph.constant(HostTensor::u32([count], marks));
    let pruned = Prune { order: Order::Index }.build(graph, &layer.tokens, scores, Some(marks), |live| live.min(keep.saturating_add(1)))?;
    Ok(pruned.compressed)
}

/// Blocks of patches as groups of a token map.
fn pool(graph: &mut Graph, layer: &Layer, step: &Step) -> Result<Compressed, Error> {
    let (tokens, grid, side) = (&layer.tokens, layer.grid, (step.numbers[0] as u32).max(1));
    if tokens.capacity() != grid * grid + 1 {
        let actual = format!("{} tokens", tokens.capacity());
        return Err(Error::Value { argument: "pool", expected: format!("the class token and {grid} x {grid} patches"), actual });
    }
    let cells = grid.div_ceil(side);
    let cell = |patch: u32| 1 + patch / grid / side * cells + patch % grid / side;
    let first = |cell: u32| 1 + cell / cells * side * grid + cell % cells * side;
    let parent = [0].into_iter().chain((0..grid * grid).map(cell)).collect();
    let representative = [0].into_iter().chain((0..cells * cells).map(first)).collect();
    let map = TokenMap {
        parent: graph.constant(HostTensor::u32([1, grid * grid + 1], parent)),
        representative: graph.constant(HostTensor::u32([1, cells * cells + 1], representative)),
        lengths: graph.constant(HostTensor::u32([1], vec![cells * cells + 1])),
    };
    let x = map.merge(graph, tokens.x, Some(tokens.size), tokenpress::kernels::Reduce::WeightedMean)?;
    let size = map.sizes(graph, tokens.size)?;
    Ok(Compressed { tokens: Tokens { x, size, lengths: map.lengths }, map })
}
