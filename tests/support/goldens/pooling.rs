//! Grids of tokens made smaller: LLaVA-Video's frames, PyTorch's adaptive average.

use tokenpress::kernels::{Pool, Windows};
use tokenpress::methods::{LlavaVideo, PoolMode};
use tokenpress::readback::HostTensors;

use super::{Failure, Feed, Golden, Side};

pub fn llava_video(golden: &Golden, side: Side<'_>) -> Result<HostTensors, Failure> {
    let mode = match golden.text("mode") {
        Some("average") => PoolMode::Average,
        Some("max") => PoolMode::Max,
        Some("bilinear") => PoolMode::Bilinear,
        mode => return Err(format!("the mode is {mode:?}").into()),
    };
    let edge = golden.count("grid")?;
    let x = golden.input("x")?;
    let [frames, tokens, channels] = x.shape().exactly("x", "[F, N, C]")?;
    let mut feed = Feed::default();
    let x = feed.input("x", x.reshaped([1, frames, tokens, channels]));
    let method = LlavaVideo { mode, stride: golden.count("stride")?, ..LlavaVideo::default() };
    let (y, _) = method.build(&mut feed.graph, x, [edge, edge], None)?;
    let pooled = y.shape().dims()[1].checked_div(frames).unwrap_or(0);
    let y = feed.graph.reshape(y, [frames, pooled, channels])?;
    feed.output("y", y)?;
    feed.run(side)
}

pub fn adaptive_average(golden: &Golden, side: Side<'_>) -> Result<HostTensors, Failure> {
    let (edge, out) = (golden.count("grid")?, golden.count("out")?);
    let mut feed = Feed::default();
    let x = feed.input("x", golden.input("x")?);
    let y = Pool::Average(Windows::Adaptive { outputs: [out, out] }).build(&mut feed.graph, x, [edge, edge], None)?;
    feed.output("y", y)?;
    feed.run(side)
}
