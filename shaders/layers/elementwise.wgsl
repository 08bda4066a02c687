// Combines two tensors number by number. The second is repeated along dimensions where it has size 1.
//
//   y = activation(a + scale * b)   or   activation(a * (scale * b))
//
// a:     [outer, middle, inner] elem
// b:     [outer or 1, middle or 1, inner or 1] elem; read if in_f32 = 0
// b_f32: the same in f32; read if in_f32 = 1
// y:     [outer, middle, inner] elem
//
// Arithmetic is in f32. Cost: one read and one write of each number.
// A row of `inner` elem is cut into segments. 2^`lanes_log2` invocations move a segment, up to eight moves each. They compute the row's
// address once for all their moves.

// Where a row begins.
struct Row {
  a: u32,
  b: u32,
  y: u32,
}

// Numbers as they lie in memory: whoever converts them waits for them.
struct Operands {
  a: elem,
  b: elem,
  b_f32: f32,
}

fn fetch(row: Row, column: u32) -> Operands {
  var operands: Operands;
  operands.a = a[row.a + column];
  if params.in_f32 == 1u {
    operands.b_f32 = b_f32[params.b_f32_base + row.b + column * params.inner_stride];
  } else {
    operands.b = b[params.b_base + row.b + column * params.inner_stride];
  }
  return operands;
}

fn put(row: Row, column: u32, operands: Operands) {
  var right = elem_f32(params.scale);
  if params.in_f32 == 1u { right *= operands.b_f32; } else { right *= elem_f32(operands.b); }
  var value = elem_f32(operands.a);
  if params.multiply == 1u { value *= right; } else { value += right; }
  y[row.y + column] = elem(elem_of(activate(params.activation, vec4<f32>(value))));
}

@compute @workgroup_size(128)
fn main(grid: Grid, lane: Lane) {
  let lanes = 1u << params.lanes_log2;
  let segment = linear_group(grid) * (128u >> params.lanes_log2) + (lane.index >> params.lanes_log2);
  let number = segment / params.segments;
  if number >= params.rows { return; }
  let outer = number / params.middle;
  let of_b = outer * params.outer_stride + (number - outer * params.middle) * params.middle_stride;
  let begin = number * params.inner;
  let first = (segment - number * params.segments) * 8u * lanes;
  let row = Row(params.a_base + begin, of_b, params.y_base + begin);
  move_row(row, first + (lane.index & (lanes - 1u)), min(first + 8u * lanes, params.inner), lanes);
}
