//! Convolutions, and what Honeybee's abstractors are made of.

use tokenpress::kernels::Convolution;
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
