// Marks every s-th place: marks[b, i] = 1 where i is a multiple of the row's step.
//
// steps: [B] u32; NONE marks no place, 0 marks every place
// marks: [B, N] u32
//
// Cost: one dispatch, one write of the marks.

const NONE = 0xffffffffu;

@compute @workgroup_size(128)
fn main(grid: Grid, lane: Lane) {
  let i = linear_group(grid) * 128u + lane.index;
  if i < params.elements {
    let step = steps[params.steps_base + i / params.places];
    let place = i % params.places;
    marks[params.marks_base + i] = u32(step != NONE && place % max(step, 1u) == 0u);
  }
}
