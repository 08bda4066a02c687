// Logarithms of token sizes: the key bias of proportional attention.
//
//   bias[b,j] = ln size[b,j], and 0 for dead tokens
//
// size:    [B, N] f32, in tokens; a denormal counts as 0, whose logarithm is negative infinity; a negative size gives NaN
// lengths: [B] u32; live tokens
// bias:    [B, N] f32
//
// Cost: one read and one write of each element.

// WGSL does not define the logarithm of 0, of a negative number, or of a NaN.
fn log_of(value: f32) -> f32 {
  let bits = bitcast<u32>(value);
  let magnitude = bits & 0x7fffffffu;
  if magnitude < 0x00800000u { return make_negative_infinity(); }
  if bits > 0x7f800000u { return make_nan(); }
  if bits == 0x7f800000u { return value; }
  return log(value);
}

@compute @workgroup_size(128)
fn main(grid: Grid, lane: Lane) {
  let i = linear_group(grid) * 128u + lane.index;
  if i < params.elements {
    var value = 0.0;
    if i % params.tokens < lengths[params.lengths_base + i / params.tokens] {
      value = log_of(size[params.size_base + i]);
    }
    bias[params.bias_base + i] = value;
  }
}
