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

@compute @workgroup_size(128)
fn main(grid: Grid, lane: Lane) {
  let lanes = 1u << params.lanes_log2;
  let segment = linear_group(grid) * (128u >> params.lanes_log2) + (lane.index >> params.lanes_log2);
  let row = segment / params.segments;
  if row >= params.rows { return; }
  let outer = row / params.middle;
  let of_b = outer * params.outer_stride + (row - outer * params.middle) * params.middle_stride;
  let first = (segment - row * params.segments) * 8u * lanes;
  let end = min(first + 8u * lanes, params.inner);
  for (var column = first + (lane.index & (lanes - 1u)); column < end; column += lanes) {
    let at = row * params.inner + column;
    let at_b = of_b + column * params.inner_stride;
    var right = elem_f32(params.scale);
    if params.in_f32 == 1u {
      right *= b_f32[params.b_f32_base + at_b];
    } else {
      right *= elem_f32(b[params.b_base + at_b]);
    }
    var value = elem_f32(a[params.a_base + at]);
    if params.multiply == 1u { value *= right; } else { value += right; }
    y[params.y_base + at] = elem(elem_of(activate(params.activation, vec4<f32>(value))));
  }
}
