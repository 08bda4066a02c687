// A linear layer of few rows, on a GPU.
//
//   y[i,o] = activation(sum_k x[i,k] * weight[o,k] + bias[o])
//
// x:        [rows, K] elem
// weight:   [outputs, K] elem
// bias:     [outputs] elem_scalar; read if biased = 1
// bias_f32: [outputs] f32; read if biased = 2
// y:        [rows, outputs] elem_scalar
//
// The sum is in f32, in ascending k, by the same operations as in `linear.wgsl` on a GPU: the same bits. So a sum is one invocation's, and
// cannot be split. All invocations of a workgroup fetch the weights, neighbours on neighbouring addresses, and slices of eight rows and 16
// outputs pass through workgroup memory. Cost: the weights are read once for every eight rows. Uses 12.4 KiB of workgroup memory.

const LANES = 128u;
const ROWS = 8u;
const COLUMNS = 16u;
const SLICE = 32u; // elems; an invocation fetches every fourth row and column

// One elem more than a slice has, so that the columns lie in different banks.
var<workgroup> of_rows: array<array<elem_f32, 33>, 8>;
var<workgroup> of_columns: array<array<elem_f32, 33>, 16>;

// What an invocation fetches of a slice.
struct Fetched {
  a0: elem_f32,
  a1: elem_f32,
  b0: elem_f32,
  b1: elem_f32,
  b2: elem_f32,
  b3: elem_f32,
}

// Rows and outputs past the last one read the last one. Their results are not stored.
fn row_elem(row: u32, k: u32) -> elem_f32 {
  return elem_f32(x[params.x_base + min(row, params.rows - 1u) * params.channels + k]);
}

fn column_elem(output: u32, k: u32) -> elem_f32 {
  return elem_f32(weight[params.weight_base + min(output, params.outputs - 1u) * params.channels + k]);
}

fn fetch(row: u32, output: u32, k: u32) -> Fetched {
  let at = min(k, params.channels - 1u);
  return Fetched(
    row_elem(row, at),
    row_elem(row + 4u, at),
    column_elem(output, at),
    column_elem(output + 4u, at),
    column_elem(output + 8u, at),
    column_elem(output + 12u, at),
  );
}

// The sum and the products of four elems: compilers read all of them before they add, which hides the time that reading takes.
fn plus_four(sum: f32, row: u32, column: u32, i: u32) -> f32 {
  let one = plus_elem(of_rows[row][i], of_columns[column][i], sum);
  let two = plus_elem(of_rows[row][i + 1u], of_columns[column][i + 1u], one);
  let three = plus_elem(of_rows[row][i + 2u], of_columns[column][i + 2u], two);
  return plus_elem(of_rows[row][i + 3u], of_columns[column][i + 3u], three);
}

fn bias_of(output: u32) -> f32 {
  if params.biased == 1u { return f32(bias[params.bias_base + output]); }
  if params.biased == 2u { return bias_f32[params.bias_f32_base + output]; }
  return 0.0;
}

@compute @workgroup_size(LANES)
fn main(grid: Grid, lane: Lane) {
  let id = linear_group(grid);
  if id >= params.groups { return; }
  // Workgroups that read the same weights are neighbours.
  let parts = (params.rows + ROWS - 1u) / ROWS;
  let first_row = id % parts * ROWS;
  let first_output = id / parts * COLUMNS;
  let which = lane.index / SLICE;
  let place = lane.index % SLICE;
  let row = lane.index / COLUMNS;
  let column = lane.index % COLUMNS;
  let wanted = (first_row + row < params.rows) & (first_output + column < params.outputs);
  var sum = 0.0;
  if params.channels > 0u {
    var next = fetch(first_row + which, first_output + which, place);
    for (var done = 0u; done < params.channels; done += SLICE) {
      workgroupBarrier(); // wait until the previous slice has been read
      of_rows[which][place] = next.a0;
      of_rows[which + 4u][place] = next.a1;
      of_columns[which][place] = next.b0;
      of_columns[which + 4u][place] = next.b1;
      of_columns[which + 8u][place] = next.b2;
      of_columns[which + 12u][place] = next.b3;
      workgroupBarrier();
      // The fetch behind the last slice repeats its end.
      next = fetch(first_row + which, first_output + which, done + SLICE + place);
      if wanted {
        if done + SLICE <= params.channels {
          for (var i = 0u; i < SLICE; i += 4u) { sum = plus_four(sum, row, column, i); }
        } else {
          for (var i = 0u; i < params.channels - done; i++) { sum = plus_elem(of_rows[row][i], of_columns[column][i], sum); }
        }
      }
    }
  }
  if wanted {
    let output = first_output + column;
    var value = sum + bias_of(output);
    if params.activation != 0u { value = activate(params.activation, vec4<f32>(value)).x; }
    y[params.y_base + (first_row + row) * params.outputs + output] = elem_scalar(value);
  }
}
