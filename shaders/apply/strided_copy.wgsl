// Copies between a dense tensor and one whose elements lie apart.
//
// source: [elements] elem
// copied: [elements] elem
//
// Index (i0, .., i4) of the strided tensor lies at i0 step0 + .. + i4 step4. It is the source, or the copy if BACK.
//
// Cost: one read and one write of each element; neighbouring invocations have neighbouring elements of the dense tensor.

override BACK: u32 = 0u;

@compute @workgroup_size(128)
fn main(grid: Grid, lane: Lane) {
  let i = linear_group(grid) * 128u + lane.index;
  if i >= params.elements { return; }
  let apart = strided_place(i);
  let origin = select(apart, i, BACK == 1u);
  let destination = select(i, apart, BACK == 1u);
  copied[params.copied_base + destination] = source[params.source_base + origin];
}
