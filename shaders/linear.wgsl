// A linear layer.
//
//   y[i,o] = sum_k x[i,k] * weight[o,k] + bias[o]
//
// x:        [rows, K] elem
// weight:   [outputs, K] elem
// bias:     [outputs] elem_scalar; read if biased = 1
// bias_f32: [outputs] f32; read if biased = 2
// y:        [rows, outputs] elem_scalar
//
// The sum is in f32, in ascending k. Cost: one pass, 2 rows outputs K operations. A workgroup of 8x8 lanes makes 32x32
// results, a lane 4x4 of them in registers; x and weight are read through the caches.
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

fn bias_of(output: u32) -> f32 {
  if output >= params.outputs { return 0.0; }
  if params.biased == 1u { return f32(bias[params.bias_base + output]); }
  if params.biased == 2u { return bias_f32[params.bias_f32_base + output]; }
  return 0.0;
}

fn store(row: u32, output: u32, values: vec4<f32>) {
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
  let tiles = (params.outputs + 31u) / 32u;
  let row = id / tiles * 32u + lane.index / 8u * 4u;
  let output = id % tiles * 32u + lane.index % 8u * 4u;

  // Rows beyond the last read the last: what comes of them is not stored.
  let last_row = params.rows - 1u;
  let x0 = params.x_base + min(row, last_row) * params.channels;
  let x1 = params.x_base + min(row + 1u, last_row) * params.channels;
  let x2 = params.x_base + min(row + 2u, last_row) * params.channels;
  let x3 = params.x_base + min(row + 3u, last_row) * params.channels;
  let last_output = params.outputs - 1u;
  let w0 = params.weight_base + min(output, last_output) * params.channels;
  let w1 = params.weight_base + min(output + 1u, last_output) * params.channels;
  let w2 = params.weight_base + min(output + 2u, last_output) * params.channels;
  let w3 = params.weight_base + min(output + 3u, last_output) * params.channels;
  var y0 = vec4<f32>();
  var y1 = vec4<f32>();
  var y2 = vec4<f32>();
  var y3 = vec4<f32>();
  for (var k = 0u; k < params.channels; k++) {
    let b0 = elem_f32(weight[w0 + k]);
    let b1 = elem_f32(weight[w1 + k]);
    let b2 = elem_f32(weight[w2 + k]);
    let b3 = elem_f32(weight[w3 + k]);
    y0 += products(elem_f32(x[x0 + k]), b0, b1, b2, b3);
    y1 += products(elem_f32(x[x1 + k]), b0, b1, b2, b3);
    y2 += products(elem_f32(x[x2 + k]), b0, b1, b2, b3);
    y3 += products(elem_f32(x[x3 + k]), b0, b1, b2, b3);
  }
  let offset = vec4<f32>(bias_of(output), bias_of(output + 1u), bias_of(output + 2u), bias_of(output + 3u));
  store(row, output, y0 + offset);
  store(row + 1u, output, y1 + offset);
  store(row + 2u, output, y2 + offset);
  store(row + 3u, output, y3 + offset);
}
