//! The methods that the example offers.

use tokenpress::kernels::{AttentionInputs, AttentionScore, Order, mark};
use tokenpress::methods::{EVit, MultiHeadAttention, Projected, Protect, Prune, ToMe};
use tokenpress::random::random_u32;
use tokenpress::{Compressed, Error, Graph, HostTensor, Tensor, TokenMap, Tokens};

use crate::chains;

pub(crate) const METHODS: &[Method] = &[
    Method {
        name: "tome",
        about: "merges the r tokens of the most similar keys (ToMe), or all above a similarity (DyMU)",
        numbers: &[("r", f64::INFINITY), ("threshold", f64::NEG_INFINITY)],
        layers: &[],
        build: tome,
    },
    Method {
        name: "topk",
        about: "keeps the patches that the class token attends to most, and drops the others",
        numbers: &[("keep", 128.0)],
        layers: &[3],
        build: top_k,
    },
    Method {
        name: "evit",
        about: "keeps this share of the patches by the class token's attention, and fuses the others into one (EViT)",
        numbers: &[("keep", 0.7)],
        layers: &[4, 7, 10],
        build: evit,
    },
    Method {
        name: "random",
        about: "keeps patches at random: what any choice must beat",
        numbers: &[("keep", 128.0), ("seed", 0.0)],
        layers: &[3],
        build: random,
    },
    Method { name: "pool", about: "averages k x k patches; comes first", numbers: &[("k", 2.0)], layers: &[3], build: pool },
];

/// Methods that drop tokens instead of merging them into others.
pub(crate) const DROPPING: [&str; 2] = ["topk", "random"];

pub(crate) type Method = chains::Method<Layer>;
pub(crate) type Step = chains::Step<Layer>;

/// What a method finds in a layer, after its attention.
pub(crate) struct Layer {
    pub(crate) tokens: Tokens,
    pub(crate) projected: Projected,
    pub(crate) attention: MultiHeadAttention,
    /// Rows and columns of patches before the first layer.
    pub(crate) grid: u32,
}

/// `NAME[:KEY=NUMBER,..]+..` for a model of so many layers.
pub(crate) fn chain(text: &str, layers: usize) -> Result<Vec<Step>, String> {
    let steps = chains::parse(METHODS, text, layers)?;
    if steps.iter().any(|step| step.method.name == "tome" && step.numbers.iter().all(|n| n.is_infinite())) {
        return Err("tome needs a number of tokens to merge at every layer, tome:r=8, or tome:threshold=0.9".to_owned());
    }
    Ok(steps)
}

/// ToMe as the example has it.
pub(crate) fn merging(merge: u32, threshold: Option<f32>) -> ToMe {
    ToMe { merge, threshold, protect: Protect::CLASS, ..ToMe::default() }
}

fn tome(graph: &mut Graph, layer: &Layer, step: &Step) -> Result<Compressed, Error> {
    let keys = layer.attention.heads_first(graph, layer.projected.keys)?;
    let threshold = Some(step.numbers[1] as f32).filter(|threshold| threshold.is_finite());
    // `as` saturates: without a number, as many as there are.
    merging(step.numbers[0] as u32, threshold).build(graph, &layer.tokens, keys)
}

fn top_k(graph: &mut Graph, layer: &Layer, step: &Step) -> Result<Compressed, Error> {
    let queries = layer.attention.heads_first(graph, layer.projected.queries)?;
    let keys = layer.attention.heads_first(graph, layer.projected.keys)?;
    let lengths = Some(layer.tokens.lengths);
    let inputs = AttentionInputs { queries, keys, bias: None, lengths, query_lengths: None };
    let score = AttentionScore::default().build(graph, inputs)?.score;
    keep_best(graph, layer, score, step.numbers[0] as u32)
}

fn evit(graph: &mut Graph, layer: &Layer, step: &Step) -> Result<Compressed, Error> {
    let queries = layer.attention.heads_first(graph, layer.projected.queries)?;
    let keys = layer.attention.heads_first(graph, layer.projected.keys)?;
    Ok(EVit { keep: step.numbers[0], ..EVit::default() }.build(graph, &layer.tokens, queries, keys)?.compressed)
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
