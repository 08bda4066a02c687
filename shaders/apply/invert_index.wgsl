// First pass of two: sets every entry of the inverse to NONE.
//
// inverse: [elements] u32
//
// Cost: one write of the inverse.

@compute @workgroup_size(128)
fn main(grid: Grid, lane: Lane) {
  let i = linear_group(grid) * 128u + lane.index;
  if i < params.elements {
    inverse[params.inverse_base + i] = 0xffffffffu;
  }
}
