//! Convolutions, and what Honeybee's abstractors are made of.

use tokenpress::kernels::{Convolution, DeformableInputs, DeformableSample, Points};
use tokenpress::readback::HostTensors;

use super::{Failure, Feed, Golden, Side};

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
    let y = DeformableSample { levels, softmax: false }.sample(&mut feed.graph, inputs)?;
    feed.output("y", y)?;
    feed.run(side)
}
