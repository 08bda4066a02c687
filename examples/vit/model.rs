//! ViT-S/14 with its saliency head as a graph: weights are inputs, named as in their file.
//!
//! What never changes is multiplied into the weights on the host: LayerScale into the linear layers before it, the normalisation
//! of batches into the transposed convolutions, and the position table is interpolated to the photo's patches.

use std::path::Path;

use tokenpress::kernels::{
    Activation, ChannelOrder, LayerNorm, Linear, PixelUnshuffle, Pool, Window, activate, add, concat_rows, gather_rows, linear, log_size,
};
use tokenpress::methods::{Affine, FeedForward, KeyMask, MultiHeadAttention, Projections, TransformerBlock};
use tokenpress::readback::HostTensors;
use tokenpress::schedule::LayerCost;
use tokenpress::{Elem, Error, Graph, HostTensor, Tensor, TokenMap, Tokens};

use crate::methods::{DROPPING, Layer, Step, merging};
use crate::stages::{Built, Part, Stages};
use crate::weights;

/// The model's weights, and its sizes, which they have.
pub(crate) struct Model {
    weights: HostTensors,
    pub(crate) layers: usize,
    heads: u32,
    patch: u32,
    /// Rows and columns of patches.
    pub(crate) grid: u32,
}

/// What a graph gives.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// Every output.
    Saliency,
    /// `features` `[1, 1, C]` of the class token alone, and `tokens`.
    ClassToken,
}

/// What comes out of the layers.
struct Through {
    tokens: Tokens,
    /// What brings dropped tokens back as they were: maps, and the rows that they had before.
    undo: Vec<(TokenMap, Option<Tensor>)>,
    compressing: Vec<usize>,
    /// For each layer that compresses, where every patch is behind it, and how many tokens there are.
    parents: Vec<Tensor>,
    lengths: Vec<Tensor>,
}

impl Through {
    fn features(&self, graph: &mut Graph, norm: Affine, wanted: Wanted) -> Result<Tensor, Error> {
        let rows = match wanted {
            Wanted::Saliency => self.undo.iter().rev().try_fold(self.tokens.x, |x, (map, before)| map.unmerge(graph, x, *before))?,
            Wanted::ClassToken => {
                let first = graph.constant(HostTensor::u32([1], vec![0]));
                gather_rows(graph, self.tokens.x, first, None)?
            }
        };
        NORM.build(graph, rows, Some(norm.weight), norm.bias)
    }
}

impl Model {
    /// Reads a safetensors file, for photos of `size` x `size` pixels.
    pub(crate) fn read(path: &Path, size: u32) -> Result<Self, String> {
        let (weights, about) = weights::read(path)?;
        let heads = about.get("heads").and_then(|heads| heads.parse().ok());
        let heads = heads.ok_or_else(|| format!("{} does not say how many heads its model has", path.display()))?;
        Self::new(weights, heads, size)
    }

    /// Of tensors as they are in the file.
    pub(crate) fn new(mut weights: HostTensors, heads: u32, size: u32) -> Result<Self, String> {
        let patch = patch_size(&weights)?;
        if size == 0 || !size.is_multiple_of(patch) {
            return Err(format!("--size must be a multiple of {patch}, the side of a patch, not {size}"));
        }
        let grid = size / patch;
        let layers = (0..).take_while(|layer| weights.contains_key(&format!("backbone.encoder.layer.{layer}.norm1.weight"))).count();
        for layer in 0..layers {
            for (scale, of) in [("layer_scale1", "attention.output.dense"), ("layer_scale2", "mlp.fc2")] {
                let scale = take(&mut weights, &format!("backbone.encoder.layer.{layer}.{scale}.lambda1"))?;
                for part in ["weight", "bias"] {
                    scale_rows(&mut weights, &format!("backbone.encoder.layer.{layer}.{of}.{part}"), &scale)?;
                }
            }
        }
        embeddings(&mut weights, grid)?;
        for stage in 1..=3 {
            upconvolution(&mut weights, stage)?;
        }
        Ok(Self { weights, layers, heads, patch, grid })
    }

    /// Rows, inputs and outputs of the largest matrix product of a layer.
    pub(crate) fn product(&self) -> [u32; 3] {
        let weight = self.weights.get("backbone.encoder.layer.0.mlp.fc1.weight").map(HostTensor::shape);
        match weight.as_ref().map(tokenpress::Shape::dims) {
            Some([outputs, inputs]) => [1 + self.grid * self.grid, *inputs, *outputs],
            _ => [1 + self.grid * self.grid, 1, 1],
        }
    }

    /// What a layer costs.
    pub(crate) fn cost(&self) -> LayerCost {
        let [_, channels, hidden] = self.product();
        LayerCost { channels, key_channels: channels, hidden, element_bytes: 4 }
    }

    /// The graph's inputs but for the photo.
    pub(crate) fn weights(&self) -> &HostTensors {
        &self.weights
    }

    /// The model with these steps of compression in its layers, between attention and feed-forward.
    ///
    /// Reads `photo`; gives `features` `[1, 1 + patches, C]` (the class token first, every patch with the row of its token), `tokens`
    /// `[1]`, how many are left, `logits` and `saliency` `[1, pixels, 1]`, and for each layer that compresses, counted from 0,
    /// `parent.LAYER` `[1, 1 + patches]`, and, but for the last one, `lengths.LAYER` `[1]`, how many are left there.
    pub(crate) fn build(&self, steps: &[Step], wanted: Wanted) -> Result<Built, Error> {
        let mut graph = Graph::new();
        let mut stages = Stages::default();
        let first = self.embed(&mut graph)?;
        stages.end(&graph, Part::Embed);
        let blocks = self.blocks(&mut graph)?;
        let norm = self.affine(&mut graph, "backbone.layernorm")?;
        let through = self.layers(&mut graph, &mut stages, first, &blocks, steps)?;
        let features = through.features(&mut graph, norm, wanted)?;
        graph.output("features", features)?;
        graph.output("tokens", through.tokens.lengths)?;
        if wanted == Wanted::Saliency {
            let logits = self.head(&mut graph, features)?;
            let saliency = activate(&mut graph, logits, Activation::Sigmoid)?;
            graph.output("logits", logits)?;
            graph.output("saliency", saliency)?;
            for (layer, parent) in through.compressing.iter().zip(&through.parents) {
                graph.output(&format!("parent.{layer}"), *parent)?;
            }
        }
        // Behind the last one they are `tokens`.
        for (layer, lengths) in through.compressing.iter().zip(&through.lengths).rev().skip(1) {
            graph.output(&format!("lengths.{layer}"), *lengths)?;
        }
        stages.end(&graph, Part::Head);
        Ok(Built { graph, stages, compressing: through.compressing })
    }

    /// The model's features with each of these chains, in one graph: what chains have in common runs once, above all the layers before the
    /// first that compresses.
    ///
    /// Reads `photo`; gives `features.CHAIN`, counted from 0, as [`Model::build`] gives `features`.
    pub(crate) fn build_all(&self, chains: &[Vec<Step>], wanted: Wanted) -> Result<Built, Error> {
        let mut graph = Graph::new();
        let first = self.embed(&mut graph)?;
        let blocks = self.blocks(&mut graph)?;
        let norm = self.affine(&mut graph, "backbone.layernorm")?;
        for (index, steps) in chains.iter().enumerate() {
            let through = self.layers(&mut graph, &mut Stages::default(), first, &blocks, steps)?;
            let features = through.features(&mut graph, norm, wanted)?;
            graph.output(&format!("features.{index}"), features)?;
        }
        Ok(Built { graph, stages: Stages::default(), compressing: Vec::new() })
    }

    /// How similar the tokens are that ToMe may merge at a layer, counted from 0, behind layers with these steps.
    ///
    /// Reads `photo`; gives `similarity` `[1, sources]` and `tokens` `[1]`, how many the layer sees.
    pub(crate) fn similarities(&self, steps: &[Step], layer: usize) -> Result<Built, Error> {
        let mut graph = Graph::new();
        let first = self.embed(&mut graph)?;
        let before = (0..layer).map(|layer| self.block(&mut graph, layer)).collect::<Result<Vec<_>, _>>()?;
        let Through { tokens, .. } = self.layers(&mut graph, &mut Stages::default(), first, &before, steps)?;
        let block = self.block(&mut graph, layer)?;
        let projected = block.project(&mut graph, tokens.x)?;
        let keys = block.attention.heads_first(&mut graph, projected.keys)?;
        if let Some(merging) = merging(u32::MAX, None).decide(&mut graph, &tokens, keys)? {
            graph.output("similarity", merging.matches.similarity)?;
        }
        graph.output("tokens", tokens.lengths)?;
        Ok(Built { graph, stages: Stages::default(), compressing: Vec::new() })
    }

    fn blocks(&self, graph: &mut Graph) -> Result<Vec<TransformerBlock>, Error> {
        (0..self.layers).map(|layer| self.block(graph, layer)).collect()
    }

    fn layers(
        &self,
        graph: &mut Graph,
        stages: &mut Stages,
        mut tokens: Tokens,
        blocks: &[TransformerBlock],
        steps: &[Step],
    ) -> Result<Through, Error> {
        let whole = TokenMap::identity(graph, &tokens)?;
        let mut undo: Vec<(TokenMap, Option<Tensor>)> = vec![(whole, None)];
        let (mut all, mut compressing, mut parents, mut lengths) = (whole, Vec::new(), Vec::new(), Vec::new());
        for (index, block) in blocks.iter().enumerate() {
            let mut projected = block.project(graph, tokens.x)?;
            // Without merged tokens every logarithm is 0.
            let bias = if parents.is_empty() { None } else { Some(log_size(graph, tokens.size, Some(tokens.lengths))?) };
            let mask = KeyMask { bias, lengths: Some(tokens.lengths), query_lengths: None };
            tokens.x = block.attend(graph, tokens.x, projected, mask)?;
            stages.end(graph, Part::Attention(index));
            let here: Vec<_> = steps.iter().filter(|step| step.is_at(index)).collect();
            for step in &here {
                let layer = Layer { tokens, projected, attention: block.attention, grid: self.grid };
                let compressed = (step.method.build)(graph, &layer, step)?;
                let map = compressed.map;
                match undo.last_mut().filter(|_| !DROPPING.contains(&step.method.name)) {
                    Some((last, _)) => *last = last.then(graph, &map)?,
                    None => undo.push((map, Some(tokens.x))),
                }
                all = all.then(graph, &map)?;
                projected.queries = map.gather(graph, projected.queries)?;
                projected.keys = map.gather(graph, projected.keys)?;
                tokens = compressed.tokens;
            }
            if !here.is_empty() {
                compressing.push(index);
                parents.push(all.parent);
                lengths.push(tokens.lengths);
            }
            stages.end(graph, Part::Compression(index));
            tokens.x = block.feed_forward(graph, tokens.x)?;
            stages.end(graph, Part::FeedForward(index));
        }
        Ok(Through { tokens, undo, compressing, parents, lengths })
    }

    fn affine(&self, graph: &mut Graph, name: &str) -> Result<Affine, Error> {
        weights::affine(&self.weights, graph, name)
    }

    /// Patches as tokens after the class token.
    fn embed(&self, graph: &mut Graph) -> Result<Tokens, Error> {
        let size = [self.grid * self.patch; 2];
        let photo = graph.input("photo", [1, size[0], size[1], 3], Elem::F32);
        let cut = PixelUnshuffle { factor: [self.patch; 2], channels: ChannelOrder::ChannelFirst, ..Default::default() };
        let pixels = cut.unshuffle_tokens(graph, photo, size)?;
        let Affine { weight, bias } = self.affine(graph, "backbone.embeddings.patch_embeddings.projection")?;
        let weight = graph.reshape(weight, [weight.shape().dims()[0], pixels.shape().dims()[2]])?;
        let patches = linear(graph, pixels, weight, bias)?;
        let positions = weights::weight(&self.weights, graph, "backbone.embeddings.position_embeddings")?;
        let patches = add(graph, patches, positions)?;
        let class = weights::weight(&self.weights, graph, "backbone.embeddings.cls_token")?;
        let (x, _) = concat_rows(graph, (class, None), (patches, None))?;
        Tokens::new(graph, x)
    }

    fn block(&self, graph: &mut Graph, layer: usize) -> Result<TransformerBlock, Error> {
        let mut affine = |name: &str| self.affine(graph, &format!("backbone.encoder.layer.{layer}.{name}"));
        let projections = Projections {
            queries: affine("attention.attention.query")?,
            keys: affine("attention.attention.key")?,
            values: affine("attention.attention.value")?,
            output: affine("attention.output.dense")?,
        };
        Ok(TransformerBlock {
            norm: NORM,
            attention_norm: affine("norm1")?,
            attention: MultiHeadAttention { heads: self.heads, projections },
            feed_forward_norm: affine("norm2")?,
            feed_forward: FeedForward { up: affine("mlp.fc1")?, activation: Activation::Gelu, down: affine("mlp.fc2")? },
        })
    }

    /// One number for each pixel, from the patches after the class token.
    fn head(&self, graph: &mut Graph, features: Tensor) -> Result<Tensor, Error> {
        let mut side = self.grid;
        let patches = graph.constant(HostTensor::u32([side * side], (1..=side * side).collect()));
        let mut x = gather_rows(graph, features, patches, None)?;
        // A transposed convolution of 4 x 4 with stride 2: each window of 2 x 2 patches gives the 2 x 2 places in its middle, of which
        // those beyond the edge are left out.
        let window = Window { size: [2, 2], stride: [1, 1], padding: [1, 1] };
        for stage in 1..=3 {
            let Affine { weight, bias } = self.affine(graph, &format!("decoder.upconv{stage}"))?;
            let rows = window.build(graph, x, [side, side])?;
            let places = Linear { activation: Activation::Relu }.build(graph, rows, weight, bias)?;
            let (windows, channels) = (side + 1, weight.shape().dims()[0] / 4);
            let places = graph.reshape(places, [1, windows * windows * 4, channels])?;
            side *= 2;
            let place = |i: u32| {
                let [row, column] = [i / side + 1, i % side + 1];
                (row / 2 * windows + column / 2) * 4 + row % 2 * 2 + column % 2
            };
            let order = graph.constant(HostTensor::u32([side * side], (0..side * side).map(place).collect()));
            x = gather_rows(graph, places, order, None)?;
        }
        let Affine { weight, bias } = self.affine(graph, "decoder.final_conv")?;
        let weight = graph.reshape(weight, [1, weight.shape().dims()[1]])?;
        let map = linear(graph, x, weight, bias)?;
        Pool::Bilinear([self.grid * self.patch; 2]).build(graph, map, [side, side], None)
    }
}

const NORM: LayerNorm = LayerNorm { subtract_mean: true, epsilon: 1e-6 };

fn take(weights: &mut HostTensors, name: &str) -> Result<Vec<f32>, String> {
    weights.remove(name).map(|tensor| tensor.floats()).ok_or_else(|| format!("the weights have no {name}"))
}

/// Pixels of a patch's side.
fn patch_size(weights: &HostTensors) -> Result<u32, String> {
    let name = "backbone.embeddings.patch_embeddings.projection.weight";
    let shape = weights.get(name).ok_or_else(|| format!("the weights have no {name}"))?.shape();
    match *shape.dims() {
        [_, 3, height, width] if height == width && height > 0 => Ok(height),
        _ => Err(format!("{name} is {shape}, not of square patches of three colours")),
    }
}

/// Multiplies each row of a matrix, or each number of a list, by its scale.
fn scale_rows(weights: &mut HostTensors, name: &str, scale: &[f32]) -> Result<(), String> {
    let tensor = weights.get_mut(name).ok_or_else(|| format!("the weights have no {name}"))?;
    let mut values = tensor.floats();
    let width = values.len() / scale.len().max(1);
    for (row, scale) in values.chunks_mut(width.max(1)).zip(scale) {
        row.iter_mut().for_each(|value| *value *= scale);
    }
    *tensor = HostTensor::f32(tensor.shape(), values);
    Ok(())
}

/// The position of the class token is added to it; those of the patches are interpolated from their table.
fn embeddings(weights: &mut HostTensors, grid: u32) -> Result<(), String> {
    let name = "backbone.embeddings.position_embeddings";
    let class = take(weights, "backbone.embeddings.cls_token")?;
    let table = take(weights, name)?;
    let channels = class.len();
    let side = (table.len() / channels.max(1)).saturating_sub(1).isqrt();
    if side == 0 || table.len() != (side * side + 1) * channels {
        return Err(format!("{name} is not of a class token and a square of patches"));
    }
    let (of_class, of_patches) = table.split_at(channels);
    let class = class.iter().zip(of_class).map(|(a, b)| a + b).collect();
    let positions = bicubic(of_patches, side, grid as usize, channels);
    weights.insert("backbone.embeddings.cls_token".to_owned(), HostTensor::f32([1, 1, channels as u32], class));
    weights.insert(name.to_owned(), HostTensor::f32([1, grid * grid, channels as u32], positions));
    Ok(())
}

/// A table of `from` x `from` rows at `to` x `to` places: Keys' cubic convolution with a = -3/4 about `(i + 1/2) from / to - 1/2`,
/// without antialiasing; beyond the edges the table repeats its last rows.
pub(crate) fn bicubic(table: &[f32], from: usize, to: usize, channels: usize) -> Vec<f32> {
    const A: f64 = -0.75;
    let weight = |distance: f64| match distance.abs() {
        d if d <= 1.0 => ((A + 2.0) * d - (A + 3.0)) * d * d + 1.0,
        d => ((A * d - 5.0 * A) * d + 8.0 * A) * d - 4.0 * A,
    };
    let taps = |i: usize| {
        let at = (i as f64 + 0.5) * from as f64 / to as f64 - 0.5;
        [-1.0, 0.0, 1.0, 2.0].map(|offset| {
            let tap = at.floor() + offset;
            (tap.clamp(0.0, from as f64 - 1.0) as usize, weight(at - tap))
        })
    };
    let mut out = Vec::with_capacity(to * to * channels);
    for (row, column) in (0..to * to).map(|i| (taps(i / to), taps(i % to))) {
        for channel in 0..channels {
            let value = |y: usize, x: usize| f64::from(table[(y * from + x) * channels + channel]);
            let line = |y: usize| column.iter().map(|(x, w)| w * value(y, *x)).sum::<f64>();
            out.push(row.iter().map(|(y, w)| w * line(*y)).sum::<f64>() as f32);
        }
    }
    out
}

/// A transposed convolution `[C, O, 4, 4]` of stride 2 and padding 1, with the normalisation after it, as the linear layer
/// `[4 O, 4 C]` from windows of 2 x 2 to the 2 x 2 places in their middle.
fn upconvolution(weights: &mut HostTensors, stage: u32) -> Result<(), String> {
    let (name, norm) = (format!("decoder.upconv{stage}"), format!("decoder.bn{stage}"));
    let kernel = take(weights, &format!("{name}.weight"))?;
    let bias = take(weights, &format!("{name}.bias"))?;
    let mut part = |part: &str| take(weights, &format!("{norm}.{part}"));
    let (gamma, beta, mean, variance) = (part("weight")?, part("bias")?, part("running_mean")?, part("running_var")?);
    let outputs = bias.len();
    let channels = kernel.len() / (16 * outputs).max(1);
    if kernel.len() != 16 * channels * outputs || [&gamma, &beta, &mean, &variance].iter().any(|part| part.len() != outputs) {
        return Err(format!("{name} is not a transposed convolution of 4 x 4 with {outputs} outputs"));
    }
    let scale: Vec<f32> = gamma.iter().zip(&variance).map(|(g, v)| (f64::from(*g) / (f64::from(*v) + 1e-5).sqrt()) as f32).collect();
    let mut matrix = Vec::with_capacity(16 * channels * outputs);
    let mut shift = Vec::with_capacity(4 * outputs);
    for (place, output) in (0..4).flat_map(|place| (0..outputs).map(move |output| (place, output))) {
        shift.push((bias[output] - mean[output]) * scale[output] + beta[output]);
        for (channel, tap) in (0..channels).flat_map(|channel| (0..4).map(move |tap| (channel, tap))) {
            let (y, x) = (2 * (1 - tap / 2) + place / 2, 2 * (1 - tap % 2) + place % 2);
            matrix.push(kernel[(channel * outputs + output) * 16 + y * 4 + x] * scale[output]);
        }
    }
    weights.insert(format!("{name}.weight"), HostTensor::f32([4 * outputs as u32, 4 * channels as u32], matrix));
    weights.insert(format!("{name}.bias"), HostTensor::f32([4 * outputs as u32], shift));
    Ok(())
}
