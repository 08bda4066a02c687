//! The methods that the example offers.

use tokenpress::kernels::Reduce;
use tokenpress::methods::{AToMe, MultiHeadAttention, PairChoice};
use tokenpress::{Compressed, Error, Graph, HostTensor, Tensor, TokenMap, Tokens};

use crate::chains;

pub(crate) const METHODS: &[Method] = &[
    Method {
        name: "atome",
        about: "merges neighbours 2i and 2i + 1 of similar keys: this share of the tokens, or all from a similarity on (A-ToMe)",
        numbers: &[("ratio", f64::INFINITY), ("threshold", f64::INFINITY)],
        layers: &[],
        build: adjacent,
    },
    Method {
        name: "pool",
        about: "averages every k neighbours, however similar; comes before atome",
        numbers: &[("k", 2.0)],
        layers: &[1],
        build: pool,
    },
];

pub(crate) type Method = chains::Method<Layer>;
pub(crate) type Step = chains::Step<Layer>;

/// What a method finds in a layer, after its attention.
pub(crate) struct Layer {
    pub(crate) tokens: Tokens,
    /// `[1, tokens, channels]`, of all heads side by side.
    pub(crate) keys: Tensor,
    pub(crate) attention: MultiHeadAttention,
}

/// `NAME[:KEY=NUMBER,..]+..` for an encoder of so many layers.
pub(crate) fn chain(text: &str, layers: usize) -> Result<Vec<Step>, String> {
    let steps = chains::parse(METHODS, text, layers)?;
    let one = |step: &Step| step.numbers.iter().filter(|n| n.is_finite()).count() == 1;
    match steps.iter().find(|step| !one(step)) {
        Some(_) => Err("atome needs either a share of the tokens, atome:ratio=0.2, or atome:threshold=0.9".to_owned()),
        None => Ok(steps),
    }
}

fn adjacent(graph: &mut Graph, layer: &Layer, step: &Step) -> Result<Compressed, Error> {
    let keys = layer.attention.heads_first(graph, layer.keys)?;
    let [ratio, threshold] = [step.numbers[0], step.numbers[1]];
    let choice = if ratio.is_finite() { PairChoice::Merge(ratio) } else { PairChoice::Similarity(threshold as f32) };
    AToMe { choice, ..AToMe::default() }.build(graph, &layer.tokens, keys)
}

/// Runs of k neighbours as groups of a token map.
fn pool(graph: &mut Graph, layer: &Layer, step: &Step) -> Result<Compressed, Error> {
    let (tokens, k) = (&layer.tokens, (step.numbers[0] as u32).max(1));
    let old = tokens.capacity();
    let new = old.div_ceil(k);
    let full = graph.constant_value(tokens.lengths).is_some_and(|lengths| lengths.integers() == [old]);
    if !full {
        let actual = "tokens whose number the GPU knows alone".to_owned();
        return Err(Error::Value { argument: "pool", expected: "a place before atome".to_owned(), actual });
    }
    let map = TokenMap {
        parent: graph.constant(HostTensor::u32([1, old], (0..old).map(|token| token / k).collect())),
        representative: graph.constant(HostTensor::u32([1, new], (0..new).map(|group| group * k).collect())),
        lengths: graph.constant(HostTensor::u32([1], vec![new])),
    };
    map.compress(graph, tokens, Some(tokens.size), Reduce::WeightedMean)
}
