use tokenpress::kernels::{Activation, LayerNorm, gather_rows};
use tokenpress::methods::{
    Affine, Content, DynamicVit, EVit, FeedForward, IdleVit, LlamaVid, MultiHeadAttention, PerceiverLayer, PerceiverResampler, Predictor,
    Projections, Protect, QFormer, QFormerInputs, QFormerLayer, ToMe, TransformerBlock,
};
use tokenpress::{Error, Graph, HostTensor};

use super::abstractor::Weights;
use super::{CHANNELS, Given, HEADS, Method};

pub const METHODS: &[Method] = &[
    Method {
        subject: "evit",
        options: "a whole block",
        build: |graph, given| {
            let block = block(graph, &mut Weights::of(given));
            let kept = EVit { keep: 0.6, ..EVit::default() }.block(graph, &given.tokens, &block)?;
            graph.output("x'", kept.compressed.tokens.x)?;
            graph.output("lengths'", kept.compressed.tokens.lengths)?;
            graph.output("parent", kept.compressed.map.parent)
        },
        ragged: true,
    },
    Method {
        subject: "idlevit",
        options: "a whole block",
        build: |graph, given| {
            let block = block(graph, &mut Weights::of(given));
            let (x, _) = IdleVit { keep: 5, ..IdleVit::default() }.block(graph, &given.tokens, &block)?;
            graph.output("x'", x)
        },
        ragged: true,
    },
    Method {
        subject: "tome",
        options: "two whole blocks",
        build: |graph, given| {
            let mut weights = Weights::of(given);
            let method = ToMe { merge: 4, protect: Protect::CLASS, ..ToMe::default() };
            let [first, second] = [block(graph, &mut weights), block(graph, &mut weights)];
            let merged = method.block(graph, &given.tokens, &first, true)?;
            let merged = method.block(graph, &merged.tokens, &second, true)?;
            graph.output("x'", merged.tokens.x)?;
            graph.output("size'", merged.tokens.size)?;
            graph.output("lengths'", merged.tokens.lengths)
        },
        ragged: true,
    },
    Method {
        subject: "dynamic_vit",
        options: "6",
        build: |graph, given| {
            let mut weights = Weights::of(given);
            let predictor = Predictor {
                norm: norm(graph, &mut weights),
                first: weights.affine(graph, &[CHANNELS, CHANNELS]),
                last: [[6, CHANNELS], [3, 6], [2, 3]].map(|dims| weights.affine(graph, &dims)),
            };
            let kept = DynamicVit { keep: 6, ..DynamicVit::default() }.build(graph, &given.tokens, &predictor)?;
            graph.output("x'", kept.pruned.compressed.tokens.x)?;
            graph.output("lengths'", kept.pruned.compressed.tokens.lengths)?;
            graph.output("score", kept.score)
        },
        ragged: true,
    },
    Method {
        subject: "qformer",
        options: "two layers, no text",
        build: |graph, given| {
            let (model, inputs) = qformer(graph, given);
            let output = model.build(graph, &inputs)?;
            graph.output("y", output.queries)
        },
        ragged: true,
    },
    Method {
        subject: "qformer",
        options: "two layers, a word of text",
        build: |graph, given| {
            let (model, inputs) = qformer(graph, given);
            let first = graph.constant(HostTensor::u32([1], vec![0]));
            let text = Some(gather_rows(graph, given.tokens.x, first, None)?);
            let output = model.build(graph, &QFormerInputs { text, ..inputs })?;
            graph.output("y", output.hidden[2])
        },
        ragged: true,
    },
    Method {
        subject: "perceiver",
        options: "one layer",
        build: |graph, given| {
            let mut weights = Weights::of(given);
            let layer = PerceiverLayer {
                token_norm: norm(graph, &mut weights),
                latent_norm: norm(graph, &mut weights),
                attention: attention(graph, &mut weights),
                feed_forward_norm: norm(graph, &mut weights),
                feed_forward: feed_forward(graph, &mut weights),
            };
            let latents = weights.tensor(graph, &[5, CHANNELS]);
            let model = PerceiverResampler { layers: vec![layer], norm: norm(graph, &mut weights) };
            let y = model.build(graph, latents, &given.tokens)?;
            graph.output("y", y)
        },
        ragged: true,
    },
    Method { subject: "llama_vid", options: "mean", build: |graph, given| llama_vid(graph, given, Content::Mean, 1), ragged: true },
    Method {
        subject: "llama_vid",
        options: "one cell, two layers",
        build: |graph, given| llama_vid(graph, given, Content::Grid(1), 2),
        ragged: true,
    },
];

fn norm(graph: &mut Graph, weights: &mut Weights) -> Affine {
    weights.affine(graph, &[CHANNELS])
}

fn attention(graph: &mut Graph, weights: &mut Weights) -> MultiHeadAttention {
    let [queries, keys, values, output] = [(); 4].map(|()| weights.affine(graph, &[CHANNELS, CHANNELS]));
    MultiHeadAttention { heads: HEADS, projections: Projections { queries, keys, values, output } }
}

fn feed_forward(graph: &mut Graph, weights: &mut Weights) -> FeedForward {
    let up = weights.affine(graph, &[20, CHANNELS]);
    FeedForward { up, activation: Activation::Gelu, down: weights.affine(graph, &[CHANNELS, 20]) }
}

fn block(graph: &mut Graph, weights: &mut Weights) -> TransformerBlock {
    TransformerBlock {
        norm: LayerNorm::new(1e-6),
        attention_norm: norm(graph, weights),
        attention: attention(graph, weights),
        feed_forward_norm: norm(graph, weights),
        feed_forward: feed_forward(graph, weights),
    }
}

fn qformer(graph: &mut Graph, given: Given) -> (QFormer, QFormerInputs) {
    let mut weights = Weights::of(given);
    let mut layers = Vec::new();
    for looks in [true, false] {
        layers.push(QFormerLayer {
            attention: (attention(graph, &mut weights), norm(graph, &mut weights)),
            cross_attention: looks.then(|| (attention(graph, &mut weights), norm(graph, &mut weights))),
            query_feed_forward: (feed_forward(graph, &mut weights), norm(graph, &mut weights)),
            text_feed_forward: Some((feed_forward(graph, &mut weights), norm(graph, &mut weights))),
        });
    }
    let inputs = QFormerInputs {
        queries: weights.tensor(graph, &[4, CHANNELS]),
        text: None,
        mask: None,
        image: given.tokens.x,
        image_mask: None,
        image_lengths: Some(given.tokens.lengths),
    };
    (QFormer { embedding_norm: norm(graph, &mut weights), layers, epsilon: 1e-12 }, inputs)
}

/// The first token is a frame of 2 x 2, the row is the text.
fn llama_vid(graph: &mut Graph, given: Given, content: Content, layers: usize) -> Result<(), Error> {
    let mut weights = Weights::of(given);
    let (batch, x) = (given.tokens.batch(), given.tokens.x);
    let mut square = |width| weights.affine(graph, &[CHANNELS, width]);
    let projector = (0..layers).map(|layer| square(if layer == 0 { CHANNELS / 4 } else { CHANNELS })).collect();
    let model = LlamaVid { key: square(CHANNELS / 4), value: square(CHANNELS / 4), projector, content };
    let first = graph.constant(HostTensor::u32([1], vec![0]));
    let frames = gather_rows(graph, x, first, None)?;
    let frames = graph.reshape(frames, [batch, 4, CHANNELS / 4])?;
    let output = model.build(graph, frames, [2, 2], x, Some(given.tokens.lengths))?;
    graph.output("y", output.tokens)?;
    graph.output("weights", output.weights)
}
