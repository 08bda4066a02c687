// The standard deviation of a token's channels, each scaled to a range of its own.
//
//   u_c = (x_c - low_c) / (high_c - low_c)        deviation = sqrt(sum_c (u_c - mean u)^2 / (C - 1))
//
// x:         [S, N, C] elem
// low, high: [S, C] elem
// deviation: [S, N] f32
//
// A channel whose range is below 2^-120, or turned round, has u = 0. A NaN or an infinity in a row or in its ranges gives NaN. One channel has
// deviation 0.
// Halves are subtracted, so that no range overflows. Each of 8 invocations takes every 8th channel, and their sums are added in their order.
//
// Cost: one dispatch; two reads of x, one of them from cache.

const LANES = 8u; // per token
const ROWS = 16u; // per workgroup
const LEAST = 3.76158192e-37; // 2^-121, half of the least range
var<workgroup> sums: array<f32, 128>;
var<workgroup> broken: array<u32, 128>;

// Where a token and its ranges begin.
struct Row {
  x: u32,
  low: u32,
  high: u32,
}

fn scaled(row: Row, c: u32) -> f32 {
  let low_half = 0.5 * f32(low[row.low + c]);
  let width = 0.5 * f32(high[row.high + c]) - low_half;
  if width >= LEAST { return (0.5 * f32(x[row.x + c]) - low_half) / width; }
  return 0.0;
}

@compute @workgroup_size(128)
fn main(grid: Grid, lane: Lane) {
  let first = linear_group(grid) * ROWS;
  if first >= params.rows { return; }
  let in_row = lane.index % LANES;
  let lanes_of_row = lane.index - in_row;
  let token = first + lane.index / LANES;
  let channels = select(0u, params.channels, token < params.rows);
  let range_row = token / params.tokens;
  var row: Row;
  row.x = params.x_base + token * params.channels;
  row.low = params.low_base + range_row * params.channels;
  row.high = params.high_base + range_row * params.channels;

  var sum = 0.0;
  var is_broken = 0u;
  for (var c = in_row; c < channels; c += LANES) {
    let whole = is_finite(f32(x[row.x + c])) && is_finite(f32(low[row.low + c])) && is_finite(f32(high[row.high + c]));
    if !whole { is_broken = 1u; }
    sum += scaled(row, c);
  }
  sums[lane.index] = sum;
  broken[lane.index] = is_broken;
  workgroupBarrier();
  sum = 0.0;
  for (var i = 0u; i < LANES; i++) {
    sum += sums[lanes_of_row + i];
    is_broken |= broken[lanes_of_row + i];
  }
  let mean = sum / f32(max(params.channels, 1u));
  workgroupBarrier(); // before the sums are written again

  var squares = 0.0;
  for (var c = in_row; c < channels; c += LANES) {
    let apart = scaled(row, c) - mean;
    squares += apart * apart;
  }
  sums[lane.index] = squares;
  workgroupBarrier();
  if in_row == 0u && token < params.rows {
    squares = 0.0;
    for (var i = 0u; i < LANES; i++) {
      squares += sums[lanes_of_row + i];
    }
    var value = sqrt(squares / f32(max(params.channels, 2u) - 1u));
    if is_broken != 0u { value = make_nan(); }
    deviation[params.deviation_base + token] = value;
  }
}
