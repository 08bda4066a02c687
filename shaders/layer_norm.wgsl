// Rows without their mean, by their deviation: LayerNorm, and RMSNorm, which leaves the mean in.
//
//   y[i,c] = (x[i,c] - mean_i) / sqrt(mean_c (x[i,c] - mean_i)^2 + epsilon) * weight[c] + bias[c]
//
// x:      [rows, C] elem
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
  channels: u32, // in elems
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
  let channels = select(0u, params.channels, row < params.rows);
  let centred = params.centred == 1u;
  let x_row = params.x_base + row * params.channels;

  var total = 0.0;
  for (var c = in_row; c < select(0u, channels, centred); c += lanes) {
    total += elem_dot(elem_f32(x[x_row + c]), elem_f32(1.0));
  }
  let mean = sum_of_row(lane, vec2<f32>(total)).x / params.count;

  var sums = vec2<f32>();
  for (var c = in_row; c < channels; c += lanes) {
    let difference = elem_f32(x[x_row + c]) - elem_f32(mean);
    sums += vec2<f32>(elem_dot(difference, elem_f32(1.0)), elem_dot(difference, difference));
  }
  sums = sum_of_row(lane, sums) / params.count;
  let rest = select(0.0, sums.x, centred);
  let scale = inverseSqrt(max(sums.y - rest * rest, 0.0) + params.epsilon);

  for (var c = in_row; c < channels; c += lanes) {
    var value = (elem_f32(x[x_row + c]) - elem_f32(mean) - elem_f32(rest)) * scale;
    if params.weighted == 1u { value *= elem_f32(weight[params.weight_base + c]); }
    if params.biased == 1u { value += elem_f32(bias[params.bias_base + c]); }
    y[params.y_base + row * params.channels + c] = elem(value);
  }
}
