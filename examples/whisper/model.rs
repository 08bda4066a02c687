//! Whisper as two graphs: an encoder of sound, and a decoder that makes one token after another. Weights are inputs, named as in
//! their file.
//!
//! What the encoder gives is what the decoder reads under the same names, so that it never leaves the device: keys and values of
//! every layer's cross-attention, how many tokens there are, and how often each counts.

use std::path::Path;

use tokenpress::kernels::{
    Activation, LayerNorm, Linear, TopK, TopKInputs, Window, add, gather_rows, linear, log_size, lookup, mark, scatter_rows,
};
use tokenpress::methods::{Affine, FeedForward, KeyMask, MultiHeadAttention, Projected, Projections, TransformerBlock};
use tokenpress::readback::HostTensors;
use tokenpress::schedule::LayerCost;
use tokenpress::{Elem, Error, Graph, HostTensor, Tensor, Tokens};

use crate::methods::{Layer, Step};
use crate::stages::{Built, Part, Stages};
use crate::weights::{self, affine, weight};

/// What the decoder hands on from one step to the next: inputs of these names, and outputs with `next.` before them.
pub(crate) const NEXT: &str = "next.";

/// The model's weights, and its sizes, which they have.
pub(crate) struct Model {
    weights: HostTensors,
    /// Of the encoder and of the decoder.
    heads: [u32; 2],
    pub(crate) layers: usize,
    decoder_layers: usize,
    channels: u32,
    /// Frequencies of the spectrogram.
    pub(crate) bins: u32,
    /// Tokens of a window before compression, each of two frames.
    pub(crate) audio: u32,
    /// Number of text tokens there are.
    pub(crate) vocabulary: u32,
    /// Longest text.
    pub(crate) text: u32,
}

impl Model {
    /// Reads a safetensors file.
    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        let (weights, about) = weights::read(path)?;
        let heads = |name: &str| {
            let heads = about.get(name).and_then(|heads| heads.parse().ok());
            heads.ok_or_else(|| format!("{} does not say {name}", path.display()))
        };
        Self::new(weights, [heads("n_audio_head")?, heads("n_text_head")?])
    }

    /// Of tensors as they are in the file.
    pub(crate) fn new(mut weights: HostTensors, heads: [u32; 2]) -> Result<Self, String> {
        // A convolution along time is one of a grid with a single row; its weights are those of the linear layer after the window.
        for name in ["encoder.conv1.weight", "encoder.conv2.weight"] {
            let shape = sizes::<3>(&weights, name)?;
            let wide = shape[1] * shape[2];
            weights.entry(name.to_owned()).and_modify(|tensor| *tensor = tensor.clone().reshaped([shape[0], wide]));
        }
        let [channels, wide] = sizes(&weights, "encoder.conv1.weight")?;
        let [audio, _] = sizes(&weights, "encoder.positional_embedding")?;
        let [text, _] = sizes(&weights, "decoder.positional_embedding")?;
        let [vocabulary, _] = sizes(&weights, "decoder.token_embedding.weight")?;
        let layers = |part| (0..).take_while(|i| weights.contains_key(&format!("{part}.blocks.{i}.attn_ln.weight"))).count();
        let (layers, decoder_layers) = (layers("encoder"), layers("decoder"));
        Ok(Self { weights, heads, layers, decoder_layers, channels, bins: wide / TAPS, audio, vocabulary, text })
    }

    /// What a layer of the encoder costs.
    pub(crate) fn cost(&self) -> LayerCost {
        let hidden = sizes(&self.weights, "encoder.blocks.0.mlp.0.weight").map_or(4 * self.channels, |[hidden, _]: [u32; 2]| hidden);
        LayerCost { channels: self.channels, key_channels: self.channels, hidden, element_bytes: 4 }
    }

    /// The graphs' inputs but for sound and text.
    pub(crate) fn weights(&self) -> &HostTensors {
        &self.weights
    }

    /// The encoder with these steps of compression in its layers, between attention and feed-forward.
    ///
    /// Reads `mel` `[1, frames, bins]`; gives `features` `[1, tokens, C]`, `audio.lengths` `[1]`, `audio.bias` `[1, tokens]`,
    /// `cross.LAYER.keys` and `cross.LAYER.values` `[1, tokens, C]`, and for each layer that compresses, counted from 0,
    /// `lengths.LAYER` `[1]`.
    pub(crate) fn encoder(&self, steps: &[Step]) -> Result<Built, Error> {
        let mut graph = Graph::new();
        let mut stages = Stages::default();
        let x = self.embed(&mut graph)?;
        let mut tokens = Tokens::new(&mut graph, x)?;
        stages.end(&graph, Part::Embed);
        let mut compressing = Vec::new();
        for index in 0..self.layers {
            let block = self.block(&mut graph, "encoder", self.heads[0], index)?;
            let projected = block.project(&mut graph, tokens.x)?;
            // Without merged tokens every logarithm is 0.
            let bias = if compressing.is_empty() { None } else { Some(log_size(&mut graph, tokens.size, Some(tokens.lengths))?) };
            let mask = KeyMask { bias, lengths: Some(tokens.lengths), query_lengths: None };
            tokens.x = block.attend(&mut graph, tokens.x, projected, mask)?;
            stages.end(&graph, Part::Attention(index));
            let mut keys = projected.keys;
            for step in steps.iter().filter(|step| step.is_at(index)) {
                let layer = Layer { tokens, keys, attention: block.attention };
                let compressed = (step.method.build)(&mut graph, &layer, step)?;
                keys = compressed.map.gather(&mut graph, keys)?;
                tokens = compressed.tokens;
            }
            if steps.iter().any(|step| step.is_at(index)) {
                compressing.push(index);
                graph.output(&format!("lengths.{index}"), tokens.lengths)?;
            }
            stages.end(&graph, Part::Compression(index));
            tokens.x = block.feed_forward(&mut graph, tokens.x)?;
            stages.end(&graph, Part::FeedForward(index));
        }
        let features = self.norm(&mut graph, "encoder.ln_post", tokens.x)?;
        for layer in 0..self.decoder_layers {
            for (part, name) in [("key", "keys"), ("value", "values")] {
                let Affine { weight, bias } = affine(&self.weights, &mut graph, &format!("decoder.blocks.{layer}.cross_attn.{part}"))?;
                let projected = linear(&mut graph, features, weight, bias)?;
                graph.output(&format!("cross.{layer}.{name}"), projected)?;
            }
        }
        let bias = log_size(&mut graph, tokens.size, Some(tokens.lengths))?;
        graph.output("audio.bias", bias)?;
        graph.output("audio.lengths", tokens.lengths)?;
        graph.output("features", features)?;
        stages.end(&graph, Part::Head);
        Ok(Built { graph, stages, compressing })
    }

    /// One step of the decoder for a batch of windows with up to `audio` tokens each, and texts of up to `steps` tokens.
    ///
    /// Reads what the encoder gives, and `token` and `position` `[batch, 1]`. Gives `logits` `[batch, 1, vocabulary]`, and hands on
    /// `token` (the best of them that is not suppressed at the first positions of a text, or later), `position`, `tokens`
    /// `[batch, steps]` with all that were chosen, and the cache: `self.LAYER.keys` and `self.LAYER.values` `[batch, steps, C]`.
    pub(crate) fn decoder(&self, batch: u32, audio: u32, steps: u32, suppressed: &[Vec<u32>; 2], prompt: u32) -> Result<Built, Error> {
        let mut graph = Graph::new();
        let mut stages = Stages::default();
        let channels = self.channels;
        let [token, position] = ["token", "position"].map(|name| graph.input(name, [batch, 1], Elem::U32));
        let embedding = weight(&self.weights, &mut graph, "decoder.token_embedding.weight")?;
        let positions = weight(&self.weights, &mut graph, "decoder.positional_embedding")?;
        let word = rows_of(&mut graph, embedding, token)?;
        let place = rows_of(&mut graph, positions, position)?;
        let mut x = add(&mut graph, word, place)?;
        let count = graph.constant(HostTensor::u32([steps], (1..=steps).collect()));
        let next = lookup(&mut graph, count, position)?;
        let so_far = KeyMask { lengths: Some(graph.reshape(next, [batch])?), ..KeyMask::default() };
        let bias = Some(graph.input("audio.bias", [batch, audio], Elem::F32));
        let lengths = Some(graph.input("audio.lengths", [batch], Elem::U32));
        let heard = KeyMask { bias, lengths, query_lengths: None };
        stages.end(&graph, Part::Embed);
        for layer in 0..self.decoder_layers {
            let block = self.block(&mut graph, "decoder", self.heads[1], layer)?;
            let mut projected = block.project(&mut graph, x)?;
            for (name, rows) in [("keys", &mut projected.keys), ("values", &mut projected.values)] {
                let name = format!("self.{layer}.{name}");
                let cache = graph.input(&name, [batch, steps, channels], Elem::F32);
                *rows = scatter_rows(&mut graph, cache, *rows, position)?;
                graph.output(&format!("{NEXT}{name}"), *rows)?;
            }
            x = block.attend(&mut graph, x, projected, so_far)?;
            let cross = self.attention(&mut graph, &format!("decoder.blocks.{layer}.cross_attn"), self.heads[1])?;
            let normal = self.norm(&mut graph, &format!("decoder.blocks.{layer}.cross_attn_ln"), x)?;
            let Affine { weight, bias } = cross.projections.queries;
            let [keys, values] =
                ["keys", "values"].map(|name| graph.input(&format!("cross.{layer}.{name}"), [batch, audio, channels], Elem::F32));
            let projected = Projected { queries: linear(&mut graph, normal, weight, bias)?, keys, values };
            let attended = cross.attend(&mut graph, projected, heard)?;
            x = add(&mut graph, x, attended)?;
            stages.end(&graph, Part::Attention(layer));
            x = block.feed_forward(&mut graph, x)?;
            stages.end(&graph, Part::FeedForward(layer));
        }
        let x = self.norm(&mut graph, "decoder.ln", x)?;
        let logits = linear(&mut graph, x, embedding, None)?;
        let marks = self.marks(&mut graph, suppressed, prompt, position)?;
        let scores = graph.reshape(logits, [batch, self.vocabulary])?;
        let chosen = TopK::default().build(&mut graph, TopKInputs { marks: Some(marks), ..TopKInputs::new(scores) })?.indices;
        let tokens = graph.input("tokens", [batch, steps], Elem::U32);
        let tokens = scatter_rows(&mut graph, tokens, chosen, position)?;
        graph.output("logits", logits)?;
        for (name, tensor) in [("token", chosen), ("position", next), ("tokens", tokens)] {
            graph.output(&format!("{NEXT}{name}"), tensor)?;
        }
        stages.end(&graph, Part::Head);
        Ok(Built { graph, stages, compressing: Vec::new() })
    }

    /// For each row a mark for each token of the vocabulary, by how far its text is.
    fn marks(&self, graph: &mut Graph, suppressed: &[Vec<u32>; 2], prompt: u32, position: Tensor) -> Result<Tensor, Error> {
        let mut marks = vec![mark::CANDIDATE; 2 * self.vocabulary as usize];
        for (list, tokens) in suppressed.iter().zip(marks.chunks_mut(self.vocabulary as usize)) {
            list.iter().for_each(|token| tokens[*token as usize] = mark::EXCLUDED);
        }
        let marks = graph.constant(HostTensor::u32([2, self.vocabulary], marks));
        let later = graph.constant(HostTensor::u32([prompt + 1], (0..=prompt).map(|position| u32::from(position >= prompt)).collect()));
        let later = lookup(graph, later, position)?;
        let marks = rows_of(graph, marks, later)?;
        graph.reshape(marks, [position.shape().dims()[0], self.vocabulary])
    }

    /// Frames as tokens, two and two.
    fn embed(&self, graph: &mut Graph) -> Result<Tensor, Error> {
        let mut x = graph.input("mel", [1, 2 * self.audio, self.bins], Elem::F32);
        for (name, stride) in [("encoder.conv1", 1), ("encoder.conv2", 2)] {
            let window = Window { size: [1, TAPS], stride: [1, stride], padding: [0, 1] };
            let frames = x.shape().dims()[1];
            let rows = window.build(graph, x, [1, frames])?;
            let Affine { weight, bias } = affine(&self.weights, graph, name)?;
            x = Linear { activation: Activation::Gelu }.build(graph, rows, weight, bias)?;
        }
        let positions = weight(&self.weights, graph, "encoder.positional_embedding")?;
        let positions = graph.reshape(positions, x.shape())?;
        add(graph, x, positions)
    }

    fn norm(&self, graph: &mut Graph, name: &str, x: Tensor) -> Result<Tensor, Error> {
        let Affine { weight, bias } = affine(&self.weights, graph, name)?;
        NORM.build(graph, x, Some(weight), bias)
    }

    fn attention(&self, graph: &mut Graph, name: &str, heads: u32) -> Result<MultiHeadAttention, Error> {
        let mut affine = |part: &str| affine(&self.weights, graph, &format!("{name}.{part}"));
        let projections = Projections { queries: affine("query")?, keys: affine("key")?, values: affine("value")?, output: affine("out")? };
        Ok(MultiHeadAttention { heads, projections })
    }

    fn block(&self, graph: &mut Graph, part: &str, heads: u32, layer: usize) -> Result<TransformerBlock, Error> {
        let attention = self.attention(graph, &format!("{part}.blocks.{layer}.attn"), heads)?;
        let mut affine = |name: &str| affine(&self.weights, graph, &format!("{part}.blocks.{layer}.{name}"));
        Ok(TransformerBlock {
            norm: NORM,
            attention_norm: affine("attn_ln")?,
            attention,
            feed_forward_norm: affine("mlp_ln")?,
            feed_forward: FeedForward { up: affine("mlp.0")?, activation: Activation::Gelu, down: affine("mlp.2")? },
        })
    }
}

/// PyTorch's.
const NORM: LayerNorm = LayerNorm { subtract_mean: true, epsilon: 1e-5 };

/// Frames under the window of a convolution.
const TAPS: u32 = 3;

/// Rows of a table `[rows, C]` by index `[batch, 1]`: `[batch, 1, C]`.
fn rows_of(graph: &mut Graph, table: Tensor, index: Tensor) -> Result<Tensor, Error> {
    let [rows, channels] = table.shape().exactly("table", "[rows, C]")?;
    let [batch, _] = index.shape().exactly("index", "[batch, 1]")?;
    let (table, index) = (graph.reshape(table, [1, rows, channels])?, graph.reshape(index, [1, batch])?);
    let found = gather_rows(graph, table, index, None)?;
    graph.reshape(found, [batch, 1, channels])
}

/// A weight's sizes.
fn sizes<const N: usize>(weights: &HostTensors, name: &str) -> Result<[u32; N], String> {
    let tensor = weights.get(name).ok_or_else(|| format!("the weights have no {name}"))?;
    tensor.shape().dims().try_into().map_err(|_| format!("{name} is {}, not of {N} dimensions", tensor.shape()))
}
