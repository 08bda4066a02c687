//! Attention. Inputs of three dimensions become heads first by a transposition, which is a pixel unshuffle; a past comes before the keys by
//! [`QueryKeyValue::with_past`]. Boolean masks are biases of 0 and of negative infinity.

use libtest_mimic::Failed;
use safetensors::Dtype;
use tokenpress::kernels::{
    Activation, Align, Attention, AttentionInputs, AttentionScore, Elementwise, HeadReduction, Heads, Norm, PixelUnshuffle, Queries,
    QueryKeyValue, RowReduction, activate, add, scale,
};
use tokenpress::{Desc, HostTensor, Tensor};

use crate::test::{Asked, Data, Test};

/// `[B, N, H D]` as `[B, H, N, D]`: each head is a block of all rows of an image of N x H tokens.
fn heads_first(asked: &mut Asked, x: Tensor, heads: u32) -> Result<Tensor, Failed> {
    let [batch, rows, width] = three(x);
    let x = asked.graph.reshape(x, [batch, rows * heads, width / heads])?;
    let turn = PixelUnshuffle { factor: [rows, 1], ..Default::default() };
    let blocks = turn.unshuffle_tokens(&mut asked.graph, x, [rows, heads])?;
    Ok(asked.graph.reshape(blocks, [batch, heads, rows, width / heads])?)
}

fn three(x: Tensor) -> [u32; 3] {
    let dims = x.shape();
    std::array::from_fn(|i| dims.dims()[i])
}

fn four(x: Tensor) -> [u32; 4] {
    let dims = x.shape();
    std::array::from_fn(|i| dims.dims()[i])
}

/// Queries, keys or values, heads first.
fn operand(test: &Test, asked: &mut Asked, i: usize, heads: i64) -> Result<Tensor, Failed> {
    let dims = test.input(i)?.dims.clone();
    let x = asked.input(test, i, &dims)?;
    if dims.len() == 4 { Ok(x) } else { heads_first(asked, x, heads as u32) }
}

/// What the test adds to the logits, padded at the end for all keys: `[B or 1, H or 1, M or 1, N]`.
fn bias_of(mask: &Data, keys: u32) -> HostTensor {
    let mut dims = [1; 4];
    dims[4 - mask.dims.len()..].copy_from_slice(&mask.dims);
    let value = |x: f64| match mask.dtype {
        Dtype::BOOL if x == 0.0 => f32::NEG_INFINITY,
        Dtype::BOOL => 0.0,
        _ => x as f32,
    };
    let mut bias = Vec::new();
    for row in mask.numbers.chunks(dims[3] as usize) {
        bias.extend(row.iter().map(|&x| value(x)));
        bias.resize(bias.len() + (keys - dims[3]) as usize, f32::NEG_INFINITY);
    }
    dims[3] = keys;
    HostTensor::f32(dims, bias)
}

pub fn attention(test: &Test, asked: &mut Asked) -> Result<(), Failed> {
    let queries = operand(test, asked, 0, test.integer("q_num_heads", 0))?;
    let kv_heads = test.integer("kv_num_heads", 0);
    let (keys, values) = (operand(test, asked, 1, kv_heads)?, operand(test, asked, 2, kv_heads)?);
    let mut inputs = QueryKeyValue { queries, keys, values, bias: None, lengths: None, query_lengths: None };
    let mut past = 0;
    if test.optional(4).is_some() {
        let dims = [test.input(4)?.dims.clone(), test.input(5)?.dims.clone()];
        past = dims[0][2];
        let tensors = [asked.input(test, 4, &dims[0])?, asked.input(test, 5, &dims[1])?];
        inputs = inputs.with_past(&mut asked.graph, Heads::First, tensors)?;
    }
    let QueryKeyValue { keys, values, .. } = inputs;
    let [batch, heads, rows, _] = four(queries);
    let [_, key_heads, key_count, _] = four(keys);
    let bias = test.optional(3).map(|mask| bias_of(mask, key_count));
    let bias = bias.map(|bias| asked.feed("bias", bias));
    let lengths = test.optional(6).is_some().then(|| asked.integers(test, 6, &[batch])).transpose()?;
    // Only keys have lengths.
    let query_lengths = Some(asked.graph.constant(HostTensor::u32([batch], vec![rows; batch as usize])));

    let causal = test.flag("is_causal");
    let cap = test.float("softcap").filter(|cap| *cap > 0.0).map(|cap| cap as f32);
    let side = |attribute| u32::try_from(test.integer(attribute, -1)).ok();
    let factor = test.float("scale").map(|scale| scale as f32);
    let attention = Attention {
        causal,
        scale: factor,
        soft_cap: cap,
        // A window as wide as they may be hides nothing.
        window: [side("left_window_size").or(asked.place.limited.then_some(1 << 29)), side("right_window_size")],
        // Without lengths the rows stand behind the past.
        align: if lengths.is_some() { Align::End } else { Align::From(past) },
        ..Default::default()
    };
    let inputs = QueryKeyValue { bias, lengths, query_lengths, ..inputs };
    let mut attended = attention.build(&mut asked.graph, inputs)?.rows;

    if test.output(3).is_some() {
        let logits = |asked: &mut Asked| {
            let all = AttentionScore {
                queries: Queries::All,
                norm: Norm::ScaledLogits,
                rows: RowReduction::None,
                heads: HeadReduction::None,
                scale: factor,
                ..Default::default()
            };
            all.build(&mut asked.graph, AttentionInputs { query_lengths, ..AttentionInputs::new(queries, keys) })
        };
        let shown = match test.integer("qk_matmul_output_mode", 0) {
            0 => logits(asked)?.score,
            1 => {
                let all = logits(asked)?.score;
                match cap {
                    None => all,
                    Some(cap) => capped(asked, all, cap)?,
                }
            }
            2 => {
                let all = logits(asked)?.score;
                let mut sum = match bias {
                    None => all,
                    Some(bias) => add(&mut asked.graph, all, bias)?,
                };
                if causal {
                    let hidden = |i: u32, j: u32| if j > i + past { f32::NEG_INFINITY } else { 0.0 };
                    let mask = (0..rows).flat_map(|i| (0..key_count).map(move |j| hidden(i, j))).collect();
                    let mask = asked.graph.constant(HostTensor::f32([rows, key_count], mask));
                    sum = add(&mut asked.graph, sum, mask)?;
                }
                sum
            }
            // The weights are what the rows take from values that are the unit vectors.
            _ => {
                let unit = |i: u32| if i / key_count % key_count == i % key_count { 1.0 } else { 0.0 };
                let desc = Desc::new([batch, key_heads, key_count, key_count], queries.elem());
                let units = HostTensor::from_floats(desc, (0..desc.shape.elements() as u32).map(unit).collect());
                let values = asked.graph.constant(units);
                attention.build(&mut asked.graph, QueryKeyValue { values, ..inputs })?.rows
            }
        };
        asked.output(test, 3, shown)?;
    }
    asked.output(test, 1, keys)?;
    asked.output(test, 2, values)?;
    if test.input(0)?.dims.len() == 3 {
        // Back to rows of all heads.
        let width = four(attended)[3];
        let blocks = asked.graph.reshape(attended, [batch, heads, rows * width])?;
        let turn = PixelUnshuffle { factor: [rows, 1], ..Default::default() };
        attended = turn.shuffle_tokens(&mut asked.graph, blocks, [rows, heads])?;
    }
    asked.output(test, 0, attended)
}

/// `cap tanh(x / cap)`, by `tanh(x) = 2 sigmoid(2 x) - 1`.
fn capped(asked: &mut Asked, x: Tensor, cap: f32) -> Result<Tensor, Failed> {
    let x = scale(&mut asked.graph, x, 2.0 / cap)?;
    let x = activate(&mut asked.graph, x, Activation::Sigmoid)?;
    let x = scale(&mut asked.graph, x, 2.0 * cap)?;
    let cap = asked.graph.constant(HostTensor::f32([1], vec![cap]));
    Ok(Elementwise { scale: -1.0, ..Default::default() }.build(&mut asked.graph, x, cap)?)
}
