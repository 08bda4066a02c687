//! Rearrangements: InternVL, NVLM, PyTorch's `PixelUnshuffle`.

use tokenpress::HostTensor;
use tokenpress::kernels::{ChannelOrder, PixelUnshuffle, TokenOrder};
use tokenpress::methods::{nvlm_dynamic_resolution, nvlm_tile_tags};
use tokenpress::readback::HostTensors;

use super::{Failure, Feed, Golden, Side};

/// The factor: `k`, or what `scale` is the inverse of.
fn factor(golden: &Golden) -> Result<u32, Failure> {
    match golden.number("scale") {
        Some(scale) if golden.count("k").is_err() => Ok((1.0 / scale).round() as u32),
        _ => golden.count("k"),
    }
}

fn unshuffle(x: HostTensor, grid: [u32; 2], options: PixelUnshuffle, side: Side<'_>) -> Result<HostTensors, Failure> {
    let mut feed = Feed::default();
    let x = feed.input("x", x);
    let y = options.unshuffle_tokens(&mut feed.graph, x, grid)?;
    feed.output("y", y)?;
    feed.run(side)
}

pub fn internvl(golden: &Golden, side: Side<'_>) -> Result<HostTensors, Failure> {
    let x = golden.input("x")?;
    let [_, rows, cols, _] = x.shape().exactly("x", "[B, rows, cols, C]")?;
    let k = factor(golden)?;
    let published = if golden.text("version") == Some("v1") { PixelUnshuffle::internvl_v1() } else { PixelUnshuffle::internvl_v2() };
    unshuffle(x, [rows, cols], PixelUnshuffle { factor: [k, k], ..published }, side)
}

pub fn nvlm(golden: &Golden, side: Side<'_>) -> Result<HostTensors, Failure> {
    let x = golden.input("x")?;
    let [_, tokens, _] = x.shape().exactly("x", "[B, N, C]")?;
    let edge = f64::from(tokens).sqrt().round() as u32;
    let k = factor(golden)?;
    let tokens = if golden.number("version") == Some(2.0) { TokenOrder::RowMajor } else { TokenOrder::Transposed };
    unshuffle(x, [edge, edge], PixelUnshuffle { factor: [k, k], tokens, ..PixelUnshuffle::nvlm() }, side)
}

pub fn nvlm_dynamic(golden: &Golden, side: Side<'_>) -> Result<HostTensors, Failure> {
    let tiles: Vec<[u32; 2]> = golden.input("tiles")?.integers().chunks_exact(2).map(|t| [t[0], t[1]]).collect();
    let mut feed = Feed::default();
    let x = feed.input("x", golden.input("x")?);
    let y = nvlm_dynamic_resolution(&mut feed.graph, x, &tiles, factor(golden)?)?;
    feed.output("y", y)?;
    feed.run(side)
}

pub fn channel_first(golden: &Golden, side: Side<'_>) -> Result<HostTensors, Failure> {
    let x = golden.input("x")?;
    let [_, rows, cols, _] = x.shape().exactly("x", "[B, rows, cols, C]")?;
    let k = factor(golden)?;
    let options = PixelUnshuffle { factor: [k, k], channels: ChannelOrder::ChannelFirst, pad: true, ..PixelUnshuffle::default() };
    unshuffle(x, [rows, cols], options, side)
}

/// The published layout has the tiles inside: `[S, tiles, h]`.
pub fn nvlm_tags(golden: &Golden, side: Side<'_>) -> Result<HostTensors, Failure> {
    let swapped = |tensor: &HostTensor| -> Result<HostTensor, Failure> {
        let [outer, inner, channels] = tensor.shape().exactly("x", "[S, tiles, h]")?;
        let (values, width) = (tensor.floats(), channels as usize);
        let row = |(i, o): (u32, u32)| values[(o * inner + i) as usize * width..][..width].to_vec();
        let rows = (0..inner).flat_map(|i| (0..outer).map(move |o| (i, o))).flat_map(row);
        Ok(HostTensor::f32([inner, outer, channels], rows.collect()))
    };
    let mut feed = Feed::default();
    let tiles = swapped(&golden.input("x")?)?;
    let count = tiles.shape().dims()[0];
    let x = feed.input("x", tiles);
    let embedding = feed.input("embedding", golden.input("embedding")?);
    let tag_ids = feed.input("tag_ids", golden.input("tag_ids")?);
    let y = nvlm_tile_tags(&mut feed.graph, x, embedding, tag_ids, &[count])?;
    feed.output("y", y)?;
    let tagged = feed.run(side)?;
    Ok([("y".to_owned(), swapped(&tagged["y"])?)].into())
}
