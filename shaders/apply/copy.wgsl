// Copies a tensor bit for bit. An invocation moves 16, 4 or 2 bytes.
//
// source: [elements] elem
// copied: [elements] elem
//
// Cost: one read and one write of each element.

@compute @workgroup_size(128)
fn main(grid: Grid, lane: Lane) {
  let i = linear_group(grid) * 128u + lane.index;
  if i < params.elements {
    copied[params.copied_base + i] = source[params.source_base + i];
  }
}
