//! Grids of tokens made smaller: LLaVA-Video's frames, PyTorch's adaptive average.

use tokenpress::HostTensor;
use tokenpress::kernels::{Pool, Windows};
use tokenpress::readback::HostTensors;

use super::{Failure, Feed, Golden, Side};

/// A square grid pooled; `pool` is told its edge.
fn pooled(golden: &Golden, side: Side<'_>, pool: impl Fn(u32) -> Result<Pool, Failure>) -> Result<HostTensors, Failure> {
    let x: HostTensor = golden.input("x")?;
    let edge = golden.count("grid")?;
    let mut feed = Feed::default();
    let x = feed.input("x", x);
    let y = pool(edge)?.build(&mut feed.graph, x, [edge, edge], None)?;
    feed.output("y", y)?;
    feed.run(side)
}

pub fn llava_video(golden: &Golden, side: Side<'_>) -> Result<HostTensors, Failure> {
    let stride = golden.count("stride")?;
    pooled(golden, side, |edge| {
        Ok(match golden.text("mode") {
            Some("average") => Pool::Average(Windows::cells(stride)),
            Some("max") => Pool::Max(Windows::cells(stride)),
            Some("bilinear") => Pool::Bilinear([edge.div_ceil(stride); 2]),
            mode => return Err(format!("the mode is {mode:?}").into()),
        })
    })
}

pub fn adaptive_average(golden: &Golden, side: Side<'_>) -> Result<HostTensors, Failure> {
    let out = golden.count("out")?;
    pooled(golden, side, |_| Ok(Pool::Average(Windows::Adaptive { outputs: [out, out] })))
}
