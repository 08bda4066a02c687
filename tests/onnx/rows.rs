//! Operators that are one call or two: Compress, DepthToSpace, SpaceToDepth, Gelu, LayerNormalization, RMSNormalization and TopK.

use libtest_mimic::Failed;
use tokenpress::HostTensor;
use tokenpress::kernels::{
    Activation, ChannelOrder, LayerNorm, PixelUnshuffle, Statistic, TopK, TopKInputs, activate, compact, gather_rows, reduce,
};

use crate::test::{Asked, Test};

/// The entries of an axis whose condition holds. A result on the GPU has room for all of them, and their number beside it.
pub fn compress(test: &Test, asked: &mut Asked) -> Result<(), Failed> {
    let data = test.input(0)?;
    let whole = test.integer("axis", i64::MAX) == i64::MAX;
    let [outer, entries, inner] = if whole { [1, data.elements(), 1] } else { data.around(test.axis(0, data.dims.len())) };
    let source = asked.input(test, 0, &[outer, entries, inner])?;
    let flags = test.input(1)?.elements();
    let condition = asked.integers(test, 1, &[1, flags])?;
    let chosen = compact(&mut asked.graph, condition, None)?;
    let index = asked.graph.reshape(chosen.indices, [flags])?;
    let rows = gather_rows(&mut asked.graph, source, index, None)?;

    let name = test.output(0).ok_or("no output")?;
    let expected = &test.expected(name)?.numbers;
    let count = expected.len() / (outer * inner) as usize;
    let mut padded = Vec::new();
    for row in expected.chunks(count * inner as usize) {
        padded.extend(row);
        padded.resize(padded.len() + (flags as usize - count) * inner as usize, 0.0);
    }
    asked.expect(name, rows, padded, [0.0; 2])?;
    asked.expect("count", chosen.counts, vec![count as f64], [0.0; 2])
}

pub fn depth_and_space(test: &Test, asked: &mut Asked) -> Result<(), Failed> {
    let dims = test.input(0)?.dims.clone();
    let block = test.integer("blocksize", 1) as u32;
    let channels = if test.text("mode", "DCR") == "CRD" { ChannelOrder::ChannelFirst } else { ChannelOrder::PositionFirst };
    let blocks = PixelUnshuffle { factor: [block; 2], channels, ..Default::default() };
    let x = asked.input(test, 0, &dims)?;
    let y = if test.operator == "SpaceToDepth" {
        blocks.unshuffle_planar(&mut asked.graph, x)?
    } else {
        blocks.shuffle_planar(&mut asked.graph, x, [dims[2] * block, dims[3] * block])?
    };
    asked.output(test, 0, y)
}

pub fn gelu(test: &Test, asked: &mut Asked) -> Result<(), Failed> {
    let activation = if test.text("approximate", "none") == "tanh" { Activation::GeluTanh } else { Activation::Gelu };
    let dims = test.input(0)?.dims.clone();
    let x = asked.input(test, 0, &dims)?;
    let y = activate(&mut asked.graph, x, activation)?;
    asked.output(test, 0, y)
}

/// Rows are all that comes after the axis. Of the outputs for training the mean is compared, and the inverse deviation is not: no call
/// gives it.
pub fn normalization(test: &Test, asked: &mut Asked) -> Result<(), Failed> {
    let data = test.input(0)?;
    let axis = test.axis(-1, data.dims.len());
    let channels = data.dims[axis..].iter().product::<u32>();
    let rows = data.elements() / channels;
    let epsilon = test.float("epsilon").unwrap_or(1e-5) as f32;
    let x = asked.input(test, 0, &[rows, channels])?;
    let weight = asked.input(test, 1, &[channels])?;
    let bias = test.optional(2).is_some().then(|| asked.input(test, 2, &[channels])).transpose()?;
    let norm = if test.operator == "LayerNormalization" { LayerNorm::new(epsilon) } else { LayerNorm::root_mean_square(epsilon) };
    let y = norm.build(&mut asked.graph, x, Some(weight), bias)?;
    asked.output(test, 0, y)?;
    if test.output(1).is_some() {
        let mean = reduce(&mut asked.graph, x, 1, Statistic::Mean, None)?;
        asked.output(test, 1, mean)?;
    }
    Ok(())
}

/// Integers are floats here: these have all numbers of the tests.
pub fn top_k(test: &Test, asked: &mut Asked) -> Result<(), Failed> {
    let data = test.input(0)?;
    let [rows, tokens, inner] = data.around(test.axis(-1, data.dims.len()));
    if inner != 1 {
        return Err("an axis that is not the last".into());
    }
    let k = test.input(1)?.numbers[0] as u32;
    let scores = asked.input(test, 0, &[rows, tokens])?;
    let options = TopK { k, largest: test.integer("largest", 1) == 1, ..Default::default() };
    let best = options.build(&mut asked.graph, TopKInputs::new(scores))?;
    asked.output(test, 0, best.values)?;
    asked.output(test, 1, best.indices)
}

/// Index lists are constants of a graph.
pub fn constant_list(asked: &mut Asked, list: Vec<u32>) -> tokenpress::Tensor {
    asked.graph.constant(HostTensor::u32([list.len() as u32], list))
}
