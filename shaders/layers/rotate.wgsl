// Turns pairs of channels by the way from one position to another: a rotary embedding, or its change.
//
//   t = entry(0, d & 255) * entry(1, (d >> 8) & 255) * entry(2, ..) * entry(3, ..)        d = |to - from|, complex numbers
//   y = x * t  or, where to < from,  x * conjugate(t)        a pair of channels as a complex number
//
// x:       [B, N, channels] elem
// source:  [B, N] u32, the positions that x was turned to, `from` above
// goal:    [B, N] u32, those that y is turned to
// turns:   [4, 256, pairs, 2] f32: cosine and sine; of levels above 0 entry 0 is 1, and not read
// lengths: [B] u32; live tokens
// y:       [B, N, channels] elem
//
// A pair is channels (c, c + pairs), or (2 c, 2 c + 1). Channels after the pairs are copied, and so are tokens that stay where they are, bit for
// bit. A pair with a NaN or an infinity that moves gives NaN. Dead tokens give 0.
// There is neither sine nor cosine here: WGSL promises them to 2^-11 and within a half turn only. Digits of 8 bits cover every distance.
//
// Cost: one dispatch; one read and one write of x. The entries come from cache: two numbers for each digit that is not 0.

fn product(a: vec2<f32>, b: vec2<f32>) -> vec2<f32> {
  return vec2<f32>(a.x * b.x - a.y * b.y, a.x * b.y + a.y * b.x);
}

@compute @workgroup_size(128)
fn main(grid: Grid, lane: Lane) {
  // A unit is a pair, or one channel after the pairs.
  let i = linear_group(grid) * 128u + lane.index;
  let units = params.channels - params.pairs;
  let row = i / units;
  if row >= params.rows { return; }
  let unit = i % units;
  let source_row = params.x_base + row * params.channels;
  let target_row = params.y_base + row * params.channels;
  let live = row % params.tokens < lengths[params.lengths_base + row / params.tokens];
  if unit >= params.pairs {
    let channel = unit + params.pairs;
    y[target_row + channel] = select(elem(), x[source_row + channel], live);
    return;
  }
  let first = select(unit, 2u * unit, params.interleaved == 1u);
  let second = select(unit + params.pairs, 2u * unit + 1u, params.interleaved == 1u);
  if !live {
    y[target_row + first] = elem();
    y[target_row + second] = elem();
    return;
  }
  let start = source[params.source_base + row];
  let end = goal[params.goal_base + row];
  let distance = select(start - end, end - start, end >= start);
  var turn = vec2<f32>(1.0, 0.0);
  for (var level = 0u; level < 4u; level++) {
    let digit = (distance >> (8u * level)) & 255u;
    if digit != 0u || level == 0u {
      let entry = params.turns_base + 2u * ((level * 256u + digit) * params.pairs + unit);
      turn = product(turn, vec2<f32>(turns[entry], turns[entry + 1u]));
    }
  }
  let a = x[source_row + first];
  let b = x[source_row + second];
  if distance == 0u && turn.x == 1.0 && turn.y == 0.0 {
    y[target_row + first] = a;
    y[target_row + second] = b;
    return;
  }
  if end < start { turn.y = -turn.y; }
  var turned = product(vec2<f32>(f32(a), f32(b)), turn);
  if !is_finite(f32(a)) || !is_finite(f32(b)) { turned = vec2<f32>(make_nan()); }
  y[target_row + first] = elem(turned.x);
  y[target_row + second] = elem(turned.y);
}
