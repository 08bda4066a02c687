// Twice each element, for tests of the host layer and of the guards. `written` elements are written, which is
// more than the output has in a test of the canaries.
//
// x: [elements] elem
// y: [elements] elem

@compute @workgroup_size(64)
fn main(grid: Grid, lane: Lane) {
  let i = linear_group(grid) * 64u + lane.index;
  if i < params.written {
    y[params.y_base + i] = elem(2.0) * x[params.x_base + min(i, params.elements - 1u)];
  }
}
