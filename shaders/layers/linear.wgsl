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
// The sum is in f32, in ascending k. Cost: one pass, 2 rows outputs K operations. A workgroup makes 64 x 64 results.

// Where a row of x, and a row of the weight, begins. Rows past the last one read the last one, and their results are not stored.
alias Place = bool;

fn row_first(place: Place, row: u32) -> u32 {
  return params.x_base + min(row, params.rows - 1u) * params.channels;
}

fn row_elem(at: u32) -> elem_f32 {
  return elem_f32(x[at]);
}

fn column_first(place: Place, output: u32) -> u32 {
  return params.weight_base + min(output, params.outputs - 1u) * params.channels;
}

fn column_elem(at: u32) -> elem_f32 {
  return elem_f32(weight[at]);
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

@compute @workgroup_size(TILE_LANES)
fn main(grid: Grid, lane: Lane) {
  let id = linear_group(grid);
  if id >= params.groups { return; }
  let tiles = (params.outputs + 63u) / 64u;
  let row = id / tiles * 64u + tile_row(lane);
  let first_output = id % tiles * 64u;
  let output = first_output + tile_column(lane);
  let extent = Extent(params.rows, params.outputs, params.channels);
  let tile = dot_tile(lane, true, row, output, wanted_elems(lane, extent, row, first_output));
  let offset = bias_of_four(output);
  if INDEXED {
    // Until here the sums are in registers. From here on, each step handles one row.
    var sums = rows_of(tile);
    for (var i = 0u; i < 16u; i++) {
      store_four(row + i, output, activate(params.activation, sums[i] + offset));
    }
  } else {
    store_four(row, output, activate(params.activation, tile.r0 + offset));
    store_four(row + 1u, output, activate(params.activation, tile.r1 + offset));
    store_four(row + 2u, output, activate(params.activation, tile.r2 + offset));
    store_four(row + 3u, output, activate(params.activation, tile.r3 + offset));
    if TILE_ROWS > 4u {
      store_four(row + 4u, output, activate(params.activation, tile.r4 + offset));
      store_four(row + 5u, output, activate(params.activation, tile.r5 + offset));
      store_four(row + 6u, output, activate(params.activation, tile.r6 + offset));
      store_four(row + 7u, output, activate(params.activation, tile.r7 + offset));
    }
    if TALL {
      store_four(row + 8u, output, activate(params.activation, tile.r8 + offset));
      store_four(row + 9u, output, activate(params.activation, tile.r9 + offset));
      store_four(row + 10u, output, activate(params.activation, tile.r10 + offset));
      store_four(row + 11u, output, activate(params.activation, tile.r11 + offset));
      store_four(row + 12u, output, activate(params.activation, tile.r12 + offset));
      store_four(row + 13u, output, activate(params.activation, tile.r13 + offset));
      store_four(row + 14u, output, activate(params.activation, tile.r14 + offset));
      store_four(row + 15u, output, activate(params.activation, tile.r15 + offset));
    }
  }
}
