//! Projectors behind a vision encoder.

use tokenpress::HostTensor;
use tokenpress::kernels::{Activation, ChannelOrder};
use tokenpress::methods::{Affine, Join, Layer, Projector, ProjectorOutput};
use tokenpress::readback::HostTensors;

use super::{Failure, Feed, Golden, Side};

pub fn gemma3(golden: &Golden, side: Side<'_>) -> Result<HostTensors, Failure> {
    let mut feed = Feed::default();
    let x = feed.input("x", golden.input("x")?);
    let norm = feed.input("norm", golden.input("w.norm")?);
    let weight = golden.input("w.proj")?;
    let [channels, width] = weight.shape().exactly("w.proj", "[C, D]")?;
    let values = weight.floats();
    let transposed = (0..width).flat_map(|o| (0..channels).map(move |c| (c * width + o) as usize)).map(|i| values[i]).collect();
    let weight = feed.input("weight", HostTensor::f32([width, channels], transposed));
    let projector = Projector::gemma3(&mut feed.graph, golden.count("grid")?, golden.count("out")?, norm, weight)?;
    let ProjectorOutput { joined, y } = projector.build(&mut feed.graph, x)?;
    feed.output("pooled", joined)?;
    feed.output("y", y)?;
    feed.run(side)
}

/// The merger alone: neither the norm before it nor the layers behind it.
pub fn mistral3(golden: &Golden, side: Side<'_>) -> Result<HostTensors, Failure> {
    let images = golden.input("sizes")?.integers().chunks_exact(2).map(|size| [size[0], size[1]]).collect();
    let x = golden.input("x")?;
    let [tokens, channels] = x.shape().exactly("x", "[N, C]")?;
    let mut feed = Feed::default();
    let x = feed.input("x", x.reshaped([1, tokens, channels]));
    let weight = feed.input("weight", golden.input("w.merging_layer")?);
    let merging = Layer { weights: Affine { weight, bias: None }, activation: Activation::None };
    let join = Join::Packed { order: ChannelOrder::ChannelFirst, images, merge: golden.count("k")? };
    let projector = Projector { token_norm: None, join, norm: None, layers: vec![merging] };
    let ProjectorOutput { joined, y } = projector.build(&mut feed.graph, x)?;
    feed.output("unfolded", joined)?;
    feed.output("y", y)?;
    feed.run(side)
}
