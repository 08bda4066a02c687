// How many tokens each frame may keep. Frames that stand out may keep more.
//
//   p[b,f]      = softmax_f(-(scores[b,f] - min scores) / temperature)       over the frames that have tokens
//   budget[b,f] = round(sizes[b,f] min(1, base (1 + p[b,f] - mean p))), ties to even, at least 1
//
// scores:  [B, F] f32; a lower score stands out more; NaN stands out least; all scores are clamped to -2^126..2^126
// sizes:   [B, F] u32; tokens of each frame; frames without any get 0
// budgets: [B, F] u32
//
// The share is in f32. Its product with the size is rounded in integers, so no budget is too large.
//
// One workgroup per batch row, or one invocation for a short row. The sum is in the order of the frames. With more than 128 frames, frames
// 128 apart are summed first. The mean of p is 1 / the number of frames.

const MOST = 8.507059173023462e37; // 2^126, so that differences are finite

// The clamped score. Tests the bits, because a shader may assume that no float is a NaN or an infinity.
fn counted(i: u32) -> f32 {
  let bits = bitcast<u32>(scores[params.scores_base + i]);
  let magnitude = bits & 0x7fffffffu;
  let value = bitcast<f32>(min(magnitude, bitcast<u32>(MOST)) | (bits & 0x80000000u));
  return select(value, MOST, magnitude > 0x7f800000u);
}

// A frame's weight in the softmax.
fn weight(i: u32, lowest: f32) -> f32 {
  let above = counted(i) - lowest;
  return select(exp(-(min(above, params.far) * params.sharpness)), 0.0, above > params.far);
}

// A 64-bit number over a power of two, truncated. The result has 32 bits.
fn shifted(high: u32, low: u32, by: u32) -> u32 {
  if by >= 32u { return high >> min(by - 32u, 31u); }
  return (high << (32u - by)) | (low >> by);
}

// size * share, for a share from 0 to 1, with ties to even.
fn rounded(size: u32, share: f32) -> u32 {
  let bits = bitcast<u32>(share);
  if bits >= 0x3f800000u { return size; }
  // share = fraction / 2^by, with `by` at least 24. The product has less than 56 bits. Shares below 2^-32 give 0.
  let by = 150u - (bits >> 23u);
  if by > 56u { return 0u; }
  let fraction = (bits & 0x007fffffu) | 0x00800000u;
  let high = multiply_high(size, fraction);
  let low = size * fraction;
  let whole = shifted(high, low, by);
  let half = shifted(high, low, by - 1u) & 1u;
  // The bits after the half.
  let low_bits = min(by - 1u, 31u);
  var behind = low & ((1u << low_bits) - 1u);
  if by > 32u {
    behind = low | (high & ((1u << (by - 33u)) - 1u));
  }
  return whole + select(0u, 1u, half == 1u && (behind != 0u || (whole & 1u) == 1u));
}

@compute @workgroup_size(GROUP)
fn main(grid: Grid, lane: Lane) {
  let batch = team_row(grid, lane);
  if batch >= params.batch { return; }
  let row = batch * params.frames;
  var highest = -MOST;
  var number = 0u;
  for (var f = team_lane(lane); f < params.frames; f += TEAM) {
    if sizes[params.sizes_base + row + f] > 0u {
      highest = max(highest, -counted(row + f));
      number++;
    }
  }
  let lowest = -reduce_max(lane, highest);
  number = reduce_add_u32(lane, number);
  var sum = 0.0;
  for (var f = team_lane(lane); f < params.frames; f += TEAM) {
    if sizes[params.sizes_base + row + f] > 0u {
      sum += weight(row + f, lowest);
    }
  }
  sum = team_add(lane, vec2<f32>(sum, 0.0)).x;
  for (var f = team_lane(lane); f < params.frames; f += TEAM) {
    let size = sizes[params.sizes_base + row + f];
    var budget = 0u;
    if size > 0u {
      let p = weight(row + f, lowest) / sum;
      let share = clamp(params.share * (1.0 + p - 1.0 / f32(number)), 0.0, 1.0);
      budget = clamp(rounded(size, share), 1u, size);
    }
    budgets[params.budgets_base + row + f] = budget;
  }
}
