//! Convolutions, and what Honeybee's abstractors are made of.

use tokenpress::kernels::{Convolution, DeformableInputs, DeformableSample, LayerNorm, Points};
use tokenpress::methods::{
    Affine, Bottleneck, CAbstractor, DAbstractor, DeformableLayer, InitialQueries, NormalizedConvolution, Projections,
};
use tokenpress::readback::HostTensors;
use tokenpress::{HostTensor, Tensor};

use super::{Failure, Feed, Golden, Side};

impl Feed {
    /// A weight of the file; its name begins with `w.`.
    fn optional_weight(&mut self, golden: &Golden, name: &str) -> Result<Option<Tensor>, Failure> {
        Ok(golden.optional_input(&format!("w.{name}"))?.map(|value| self.input(name, value)))
    }

    pub(super) fn weight(&mut self, golden: &Golden, name: &str) -> Result<Tensor, Failure> {
        self.optional_weight(golden, name)?.ok_or_else(|| format!("no tensor in.w.{name}").into())
    }

    /// `name.weight` and `name.bias`.
    pub(super) fn affine(&mut self, golden: &Golden, name: &str) -> Result<Affine, Failure> {
        Ok(Affine { weight: self.weight(golden, &format!("{name}.weight"))?, bias: self.optional_weight(golden, &format!("{name}.bias"))? })
    }

    fn convolution(&mut self, golden: &Golden, name: &str) -> Result<NormalizedConvolution, Failure> {
        let weight = self.weight(golden, &format!("{name}.conv.weight"))?;
        Ok(NormalizedConvolution { weight, norm: self.affine(golden, &format!("{name}.bn"))? })
    }

    /// `None` where the file has no such layer.
    fn optional_affine(&mut self, golden: &Golden, name: &str) -> Result<Option<Affine>, Failure> {
        let there = golden.optional_input(&format!("w.{name}.weight"))?.is_some();
        there.then(|| self.affine(golden, name)).transpose()
    }

    fn deformable_layer(&mut self, golden: &Golden, prefix: &str) -> Result<DeformableLayer, Failure> {
        let mut affine = |name: &str| self.affine(golden, &format!("{prefix}{name}"));
        Ok(DeformableLayer {
            attention: Projections {
                queries: affine("self_attn.q_proj")?,
                keys: affine("self_attn.k_proj")?,
                values: affine("self_attn.v_proj")?,
                output: affine("self_attn.out_proj")?,
            },
            attention_norm: affine("self_attn_layer_norm")?,
            offsets: affine("encoder_attn.sampling_offsets")?,
            weights: affine("encoder_attn.attention_weights")?,
            values: affine("encoder_attn.value_proj")?,
            output: affine("encoder_attn.output_proj")?,
            sample_norm: affine("encoder_attn_layer_norm")?,
            feed_forward: [affine("fc1")?, affine("fc2")?],
            feed_forward_norm: affine("final_layer_norm")?,
        })
    }

    /// `prefix` is empty, or ends in a dot.
    fn bottleneck(&mut self, golden: &Golden, prefix: &str) -> Result<Bottleneck, Failure> {
        let shortcut = golden.optional_input(&format!("w.{prefix}downsample.conv.weight"))?.is_some();
        Ok(Bottleneck {
            conv1: self.convolution(golden, &format!("{prefix}conv1"))?,
            conv2: self.convolution(golden, &format!("{prefix}conv2"))?,
            squeeze: self.affine(golden, &format!("{prefix}se.fc1"))?,
            excite: self.affine(golden, &format!("{prefix}se.fc2"))?,
            conv3: self.convolution(golden, &format!("{prefix}conv3"))?,
            shortcut: shortcut.then(|| self.convolution(golden, &format!("{prefix}downsample"))).transpose()?,
        })
    }
}

/// LayerNorm of the channels of each token.
pub fn layer_norm(golden: &Golden, side: Side<'_>) -> Result<HostTensors, Failure> {
    let mut feed = Feed::default();
    let x = feed.input("x", golden.input("x")?);
    let weight = feed.optional_weight(golden, "weight")?;
    let bias = feed.optional_weight(golden, "bias")?;
    let norm = LayerNorm::new(golden.number("eps").unwrap_or(1e-6) as f32);
    let y = norm.build(&mut feed.graph, x, weight, bias)?;
    feed.output("y", y)?;
    feed.run(side)
}

/// One bottleneck with all its steps.
pub fn bottleneck(golden: &Golden, side: Side<'_>) -> Result<HostTensors, Failure> {
    let mut feed = Feed::default();
    let x = feed.input("x", golden.input("x")?);
    let bottleneck = feed.bottleneck(golden, "")?;
    let output = bottleneck.build(&mut feed.graph, x, [golden.count("rows")?, golden.count("cols")?])?;
    feed.output("after_conv1", output.conv1)?;
    feed.output("after_conv2", output.conv2)?;
    feed.output("after_se", output.gated)?;
    feed.output("after_conv3", output.conv3)?;
    feed.output("y", output.y)?;
    feed.run(side)
}

/// The whole C-Abstractor.
pub fn c_abstractor(golden: &Golden, side: Side<'_>) -> Result<HostTensors, Failure> {
    let mut feed = Feed::default();
    let x = feed.input("x", golden.input("x")?);
    let [grid, outputs] = [golden.count("grid")?, golden.count("out_grid")?].map(|edge| [edge, edge]);
    let depth = golden.count("depth")?;
    let stage = |feed: &mut Feed, net| (1..=depth).map(|i| feed.bottleneck(golden, &format!("net.{net}.b{i}."))).collect::<Result<_, _>>();
    // Of a sequence of layers, every second one has weights.
    let readout = (0..golden.count("mlp_depth")?).map(|i| feed.affine(golden, &format!("readout.{}", 2 * i))).collect::<Result<_, _>>()?;
    let abstractor = CAbstractor {
        grid,
        outputs,
        positions: feed.optional_weight(golden, "pos_emb")?,
        before: stage(&mut feed, 0)?,
        after: stage(&mut feed, 2)?,
        readout,
        end: feed.optional_weight(golden, "eos_tokens")?,
    };
    let output = abstractor.build(&mut feed.graph, x)?;
    feed.output("stage1", output.before)?;
    feed.output("pooled", output.pooled)?;
    feed.output("stage2", output.after)?;
    feed.output("y", output.y)?;
    feed.run(side)
}

/// The whole D-Abstractor, with the queries after each layer.
pub fn d_abstractor(golden: &Golden, side: Side<'_>) -> Result<HostTensors, Failure> {
    let mut feed = Feed::default();
    let x = feed.input("x", golden.input("x")?);
    let [grid, queries] = [golden.count("grid")?, golden.count("queries")?];
    let embedding = golden.input("w.query_position_embeddings.weight")?;
    let edge = queries.isqrt();
    let outputs = [edge, edge];
    let queries = match golden.text("pooled_v_target") {
        Some("none") => {
            // Positions and contents are the halves of each row.
            let [queries, both] = embedding.shape().exactly("embedding", "[Q, 2 C]")?;
            let half = both / 2;
            let (rows, shape) = (embedding.floats(), [queries, half]);
            let part = |second: bool| {
                let start = if second { half as usize } else { 0 };
                HostTensor::f32(shape, rows.chunks(both as usize).flat_map(|row| row[start..][..half as usize].to_vec()).collect())
            };
            InitialQueries::Learned { positions: feed.input("positions", part(false)), contents: feed.input("contents", part(true)) }
        }
        Some("tgt") => InitialQueries::PooledContents { positions: feed.input("positions", embedding), outputs },
        _ => InitialQueries::PooledPositions { contents: feed.input("contents", embedding), outputs },
    };
    let reference = feed.weight(golden, "reference_points")?;
    let layers = (0..golden.count("layers")?).map(|i| feed.deformable_layer(golden, &format!("layers.{i}."))).collect::<Result<_, _>>()?;
    let abstractor = DAbstractor {
        input: feed.optional_affine(golden, "input_proj.0")?,
        positions: feed.optional_weight(golden, "v_pos_emb")?,
        heads: golden.count("heads")?,
        layers,
        end: feed.optional_weight(golden, "eos_tokens")?,
        output: feed.optional_affine(golden, "output_proj")?,
        ..DAbstractor::new([grid, grid], queries, reference)
    };
    let output = abstractor.build(&mut feed.graph, x)?;
    for (i, layer) in output.layers.iter().enumerate() {
        feed.output(&format!("layer{i}"), *layer)?;
    }
    feed.output("y", output.y)?;
    feed.run(side)
}

/// A depthwise convolution that keeps the grid but for its stride.
pub fn depthwise(golden: &Golden, side: Side<'_>) -> Result<HostTensors, Failure> {
    let mut feed = Feed::default();
    let weight = golden.input("weight")?;
    let [_, _, height, width] = weight.shape().exactly("weight", "[C, 1, kh, kw]")?;
    let stride = golden.count("stride")?;
    let grid = [golden.count("rows")?, golden.count("cols")?];
    let convolution = Convolution { stride: [stride, stride], padding: [height / 2, width / 2] };
    let x = feed.input("x", golden.input("x")?);
    let weight = feed.input("weight", weight);
    let bias = golden.optional_input("bias")?.map(|bias| feed.input("bias", bias));
    let y = convolution.depthwise(&mut feed.graph, x, grid, weight, bias)?;
    feed.output("y", y)?;
    feed.run(side)
}

/// The sampling of deformable attention on several levels.
pub fn deformable(golden: &Golden, side: Side<'_>) -> Result<HostTensors, Failure> {
    let mut feed = Feed::default();
    let levels: Vec<[u32; 2]> = golden.input("spatial_shapes")?.integers().chunks_exact(2).map(|size| [size[0], size[1]]).collect();
    let weights = golden.input("weights")?;
    let [batch, queries, heads, of_levels, of_level] = weights.shape().exactly("weights", "[B, Q, H, L, P]")?;
    let samples = of_levels * of_level;
    let value = feed.input("value", golden.input("value")?);
    let locations = feed.input("locations", golden.input("locations")?.reshaped([batch, queries, heads, samples, 2]));
    let weights = feed.input("weights", weights.reshaped([batch, queries, heads, samples]));
    let inputs = DeformableInputs { value, points: Points::Locations(locations), weights };
    let y = DeformableSample { levels, softmax: false }.build(&mut feed.graph, inputs)?;
    feed.output("y", y)?;
    feed.run(side)
}
