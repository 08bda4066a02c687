// Rows without their mean, by their deviation: LayerNorm, and RMSNorm, which leaves the mean in.
//
//   y[i,c] = (x[i,c] - mean_i) / sqrt(mean_c (x[i,c] - mean_i)^2 + epsilon) * weight[c] + bias[c]
//
// x:      [rows, C] elem; or [B, skip + h w, C / (kh kw)], whose blocks of kh x kw tokens are the rows: block (i, j) of a grid holds the tokens
//         (i kh + dy, j kw + dx) behind each other, zeros beyond the grid
// weight: [C] elem; read if weighted
// bias:   [C] elem; read if biased
// y:      [rows, C] elem
//
// Sums are in f32. The mean that the first pass finds is rounded; the second finds by how much, together with the squares, so
// that a large offset of a row costs no accuracy. Cost: x is read three times, twice from cache. 2^`lanes_log2` invocations share
// a row: so many for its length, whatever the number of rows, since the order of the sums hangs on it.
struct Params {
  x_base: u32,
  weight_base: u32,
  bias_base: u32,
  y_base: u32,
  rows: u32,
  lanes_log2: u32,
  positions: u32, // kh kw; 1 without blocks
  channels: u32, // of each position, in elems
  factor_rows: u32,
  factor_columns: u32,
  block_rows: u32,
  block_columns: u32,
  transposed: u32, // the blocks are column by column
  grid_rows: u32,
  grid_columns: u32,
  skip: u32,
  centred: u32,
  weighted: u32,
  biased: u32,
  count: f32,
  epsilon: f32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<elem>;
@group(0) @binding(2) var<storage, read> weight: array<elem>;
@group(0) @binding(3) var<storage, read> bias: array<elem>;
@group(0) @binding(4) var<storage, read_write> y: array<elem>;

const NONE = 0xffffffffu;
var<workgroup> parts: array<vec2<f32>, 128>;

// The sum over a row's lanes, in their order. From uniform control flow.
fn sum_of_row(lane: Lane, part: vec2<f32>) -> vec2<f32> {
  parts[lane.index] = part;
  workgroupBarrier();
  let lanes = 1u << params.lanes_log2;
  let first = lane.index & ~(lanes - 1u);
  var sum = vec2<f32>();
  for (var i = 0u; i < lanes; i++) {
    sum += parts[first + i];
  }
  workgroupBarrier(); // the array is written again by the next call
  return sum;
}

// Where the channels of a position of a row begin, or NONE beyond the grid.
fn first_of(row: u32, position: u32) -> u32 {
  let blocks = params.block_rows * params.block_columns;
  let block = row % blocks;
  var place = vec2<u32>(block / params.block_columns, block % params.block_columns);
  if params.transposed == 1u { place = vec2<u32>(block % params.block_rows, block / params.block_rows); }
  let at = place * vec2<u32>(params.factor_rows, params.factor_columns)
    + vec2<u32>(position / params.factor_columns, position % params.factor_columns);
  let token = row / blocks * (params.skip + params.grid_rows * params.grid_columns) + params.skip + at.x * params.grid_columns + at.y;
  let inside = (at.x < params.grid_rows) & (at.y < params.grid_columns);
  return select(NONE, params.x_base + token * params.channels, inside);
}

fn number(first: u32, c: u32) -> elem_f32 {
  if first == NONE { return elem_f32(); }
  return elem_f32(x[first + c]);
}

@compute @workgroup_size(128)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  lane: Lane,
) {
  let first_row = linear_group(group, groups) * (128u >> params.lanes_log2);
  if first_row >= params.rows { return; }
  let lanes = 1u << params.lanes_log2;
  let row = first_row + (lane.index >> params.lanes_log2);
  let in_row = lane.index & (lanes - 1u);
  let positions = select(0u, params.positions, row < params.rows);
  let centred = params.centred == 1u;

  var total = 0.0;
  for (var position = 0u; position < select(0u, positions, centred); position++) {
    let first = first_of(row, position);
    for (var c = in_row; c < params.channels; c += lanes) {
      total += elem_dot(number(first, c), elem_f32(1.0));
    }
  }
  let mean = sum_of_row(lane, vec2<f32>(total)).x / params.count;

  var sums = vec2<f32>();
  for (var position = 0u; position < positions; position++) {
    let first = first_of(row, position);
    for (var c = in_row; c < params.channels; c += lanes) {
      let difference = number(first, c) - elem_f32(mean);
      sums += vec2<f32>(elem_dot(difference, elem_f32(1.0)), elem_dot(difference, difference));
    }
  }
  sums = sum_of_row(lane, sums) / params.count;
  let rest = select(0.0, sums.x, centred);
  let scale = inverseSqrt(max(sums.y - rest * rest, 0.0) + params.epsilon);

  for (var position = 0u; position < positions; position++) {
    let first = first_of(row, position);
    let offset = position * params.channels;
    for (var c = in_row; c < params.channels; c += lanes) {
      var value = (number(first, c) - elem_f32(mean) - elem_f32(rest)) * scale;
      if params.weighted == 1u { value *= elem_f32(weight[params.weight_base + offset + c]); }
      if params.biased == 1u { value += elem_f32(bias[params.bias_base + offset + c]); }
      y[params.y_base + row * params.positions * params.channels + offset + c] = elem(value);
    }
  }
}
