// A linear layer.
//
//   y[i,o] = activation(sum_k x[i,k] * weight[o,k] + bias[o])
//
// x:        [rows, K] elem
// weight:   [outputs, K] elem
// bias:     [outputs] elem_scalar; read if biased = 1
// bias_f32: [outputs] f32; read if biased = 2
// y:        [rows, outputs] elem_scalar
//
// The sum is in f32, in ascending k. Cost: one pass, 2 rows outputs K operations. A workgroup of 8x8 lanes makes 64x64
// results, a lane 8x8 of them in registers; x and weight are read through the caches.
struct Params {
  x_base: u32,
  weight_base: u32,
  bias_base: u32,
  bias_f32_base: u32,
  y_base: u32,
  groups: u32,
  rows: u32,
  outputs: u32,
  channels: u32,
  biased: u32,
  activation: u32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<elem>;
@group(0) @binding(2) var<storage, read> weight: array<elem>;
@group(0) @binding(3) var<storage, read> bias: array<elem_scalar>;
@group(0) @binding(4) var<storage, read> bias_f32: array<f32>;
@group(0) @binding(5) var<storage, read_write> y: array<elem_scalar>;

// What one step along K adds to one row of a tile: a with each of four.
fn products(a: elem_f32, b0: elem_f32, b1: elem_f32, b2: elem_f32, b3: elem_f32) -> vec4<f32> {
  return vec4<f32>(elem_dot(a, b0), elem_dot(a, b1), elem_dot(a, b2), elem_dot(a, b3));
}

// Where a row of x, and one of the weight, begins. Those beyond the last read the last: what comes of them is not stored.
fn x_row(row: u32) -> u32 {
  return params.x_base + min(row, params.rows - 1u) * params.channels;
}

fn weight_row(output: u32) -> u32 {
  return params.weight_base + min(output, params.outputs - 1u) * params.channels;
}

fn bias_of(output: u32) -> f32 {
  if output >= params.outputs { return 0.0; }
  if params.biased == 1u { return f32(bias[params.bias_base + output]); }
  if params.biased == 2u { return bias_f32[params.bias_f32_base + output]; }
  return 0.0;
}

fn bias_of_four(output: u32) -> vec4<f32> {
  return vec4<f32>(bias_of(output), bias_of(output + 1u), bias_of(output + 2u), bias_of(output + 3u));
}

fn store_four(row: u32, output: u32, values: vec4<f32>) {
  if row >= params.rows { return; }
  let first = params.y_base + row * params.outputs + output;
  if output < params.outputs { y[first] = elem_scalar(values.x); }
  if output + 1u < params.outputs { y[first + 1u] = elem_scalar(values.y); }
  if output + 2u < params.outputs { y[first + 2u] = elem_scalar(values.z); }
  if output + 3u < params.outputs { y[first + 3u] = elem_scalar(values.w); }
}

@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  lane: Lane,
) {
  let id = linear_group(group, groups);
  if id >= params.groups { return; }
  let tiles = (params.outputs + 63u) / 64u;
  let row = id / tiles * 64u + lane.index / 8u * 8u;
  let output = id % tiles * 64u + lane.index % 8u * 8u;

  let x0 = x_row(row + 0u);
  let x1 = x_row(row + 1u);
  let x2 = x_row(row + 2u);
  let x3 = x_row(row + 3u);
  let x4 = x_row(row + 4u);
  let x5 = x_row(row + 5u);
  let x6 = x_row(row + 6u);
  let x7 = x_row(row + 7u);
  let w0 = weight_row(output + 0u);
  let w1 = weight_row(output + 1u);
  let w2 = weight_row(output + 2u);
  let w3 = weight_row(output + 3u);
  let w4 = weight_row(output + 4u);
  let w5 = weight_row(output + 5u);
  let w6 = weight_row(output + 6u);
  let w7 = weight_row(output + 7u);
  // Row i of the tile is `near_i` for the first four outputs and `far_i` for the others.
  var near0 = vec4<f32>();
  var far0 = vec4<f32>();
  var near1 = vec4<f32>();
  var far1 = vec4<f32>();
  var near2 = vec4<f32>();
  var far2 = vec4<f32>();
  var near3 = vec4<f32>();
  var far3 = vec4<f32>();
  var near4 = vec4<f32>();
  var far4 = vec4<f32>();
  var near5 = vec4<f32>();
  var far5 = vec4<f32>();
  var near6 = vec4<f32>();
  var far6 = vec4<f32>();
  var near7 = vec4<f32>();
  var far7 = vec4<f32>();
  for (var k = 0u; k < params.channels; k++) {
    let b0 = elem_f32(weight[w0 + k]);
    let b1 = elem_f32(weight[w1 + k]);
    let b2 = elem_f32(weight[w2 + k]);
    let b3 = elem_f32(weight[w3 + k]);
    let b4 = elem_f32(weight[w4 + k]);
    let b5 = elem_f32(weight[w5 + k]);
    let b6 = elem_f32(weight[w6 + k]);
    let b7 = elem_f32(weight[w7 + k]);
    let a0 = elem_f32(x[x0 + k]);
    near0 += products(a0, b0, b1, b2, b3);
    far0 += products(a0, b4, b5, b6, b7);
    let a1 = elem_f32(x[x1 + k]);
    near1 += products(a1, b0, b1, b2, b3);
    far1 += products(a1, b4, b5, b6, b7);
    let a2 = elem_f32(x[x2 + k]);
    near2 += products(a2, b0, b1, b2, b3);
    far2 += products(a2, b4, b5, b6, b7);
    let a3 = elem_f32(x[x3 + k]);
    near3 += products(a3, b0, b1, b2, b3);
    far3 += products(a3, b4, b5, b6, b7);
    let a4 = elem_f32(x[x4 + k]);
    near4 += products(a4, b0, b1, b2, b3);
    far4 += products(a4, b4, b5, b6, b7);
    let a5 = elem_f32(x[x5 + k]);
    near5 += products(a5, b0, b1, b2, b3);
    far5 += products(a5, b4, b5, b6, b7);
    let a6 = elem_f32(x[x6 + k]);
    near6 += products(a6, b0, b1, b2, b3);
    far6 += products(a6, b4, b5, b6, b7);
    let a7 = elem_f32(x[x7 + k]);
    near7 += products(a7, b0, b1, b2, b3);
    far7 += products(a7, b4, b5, b6, b7);
  }
  // The sums are in registers until here; what follows is one step for each half row.
  var sums = array<vec4<f32>, 16>(
    near0, far0, near1, far1, near2, far2, near3, far3, near4, far4, near5, far5, near6, far6, near7, far7,
  );
  for (var i = 0u; i < 16u; i++) {
    let first = output + i % 2u * 4u;
    store_four(row + i / 2u, first, activate(params.activation, sums[i] + bias_of_four(first)));
  }
}
