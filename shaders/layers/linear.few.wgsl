// A linear layer of few rows, on a CPU.
//
//   y[i,o] = activation(sum_k x[i,k] * weight[o,k] + bias[o])
//
// x:        [rows, K] elem
// weight:   [outputs, K] elem
// bias:     [outputs] elem_scalar; read if biased = 1
// bias_f32: [outputs] f32; read if biased = 2
// y:        [rows, outputs] elem_scalar
//
// The sum is in f32, in ascending k, as in `linear.wgsl`: the same bits. Cost: the weights are read once for every ROWS rows. An invocation
// makes ROWS rows of four outputs, and reads through the caches.

override ROWS: u32 = 1u; // or 2, 4, 8
const LANES = 16u; // few, so that a small layer has work for every core

// Rows and outputs past the last one read the last one. Their results are not stored.
fn row_first(row: u32) -> u32 {
  return params.x_base + min(row, params.rows - 1u) * params.channels;
}

fn column_first(output: u32) -> u32 {
  return params.weight_base + min(output, params.outputs - 1u) * params.channels;
}

fn bias_of(output: u32) -> f32 {
  if output >= params.outputs { return 0.0; }
  if params.biased == 1u { return f32(bias[params.bias_base + output]); }
  if params.biased == 2u { return bias_f32[params.bias_f32_base + output]; }
  return 0.0;
}

fn store_four(row: u32, output: u32, sums: vec4<f32>, offset: vec4<f32>) {
  if row >= params.rows { return; }
  var values = sums + offset;
  if params.activation != 0u { values = activate(params.activation, values); }
  let first = params.y_base + row * params.outputs + output;
  if output < params.outputs { y[first] = elem_scalar(values.x); }
  if output + 1u < params.outputs { y[first + 1u] = elem_scalar(values.y); }
  if output + 2u < params.outputs { y[first + 2u] = elem_scalar(values.z); }
  if output + 3u < params.outputs { y[first + 3u] = elem_scalar(values.w); }
}

@compute @workgroup_size(LANES)
fn main(grid: Grid, lane: Lane) {
  let id = linear_group(grid);
  if id >= params.groups { return; }
  let parts = (params.rows + ROWS - 1u) / ROWS;
  let row = id % parts * ROWS;
  let output = (id / parts * LANES + lane.index) * 4u;
  let row0 = row_first(row);
  let row1 = row_first(row + 1u);
  let row2 = row_first(row + 2u);
  let row3 = row_first(row + 3u);
  let row4 = row_first(row + 4u);
  let row5 = row_first(row + 5u);
  let row6 = row_first(row + 6u);
  let row7 = row_first(row + 7u);
  let column0 = column_first(output);
  let column1 = column_first(output + 1u);
  let column2 = column_first(output + 2u);
  let column3 = column_first(output + 3u);
  var r0 = vec4<f32>();
  var r1 = vec4<f32>();
  var r2 = vec4<f32>();
  var r3 = vec4<f32>();
  var r4 = vec4<f32>();
  var r5 = vec4<f32>();
  var r6 = vec4<f32>();
  var r7 = vec4<f32>();
  for (var k = 0u; k < params.channels; k++) {
    let b0 = elem_f32(weight[column0 + k]);
    let b1 = elem_f32(weight[column1 + k]);
    let b2 = elem_f32(weight[column2 + k]);
    let b3 = elem_f32(weight[column3 + k]);
    r0 += products(elem_f32(x[row0 + k]), b0, b1, b2, b3);
    if ROWS > 1u {
      r1 += products(elem_f32(x[row1 + k]), b0, b1, b2, b3);
    }
    if ROWS > 2u {
      r2 += products(elem_f32(x[row2 + k]), b0, b1, b2, b3);
      r3 += products(elem_f32(x[row3 + k]), b0, b1, b2, b3);
    }
    if ROWS > 4u {
      r4 += products(elem_f32(x[row4 + k]), b0, b1, b2, b3);
      r5 += products(elem_f32(x[row5 + k]), b0, b1, b2, b3);
      r6 += products(elem_f32(x[row6 + k]), b0, b1, b2, b3);
      r7 += products(elem_f32(x[row7 + k]), b0, b1, b2, b3);
    }
  }
  let offset = vec4<f32>(bias_of(output), bias_of(output + 1u), bias_of(output + 2u), bias_of(output + 3u));
  // One text for all rows, without an array that a variable indexes, which a GPU would keep in slow memory.
  for (var i = 0u; i < ROWS; i++) {
    var sums = select(r0, r1, i == 1u);
    sums = select(sums, r2, i == 2u);
    sums = select(sums, r3, i == 3u);
    sums = select(sums, r4, i == 4u);
    sums = select(sums, r5, i == 5u);
    sums = select(sums, r6, i == 6u);
    sums = select(sums, r7, i == 7u);
    store_four(row + i, output, sums, offset);
  }
}
