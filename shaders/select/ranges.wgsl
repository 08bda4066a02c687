// The places of each sequence of a packed row.
//
// offsets: [S + 1] u32; sequence s is offsets[s] .. offsets[s + 1]
// indices: [S, longest] u32; NONE after a sequence's places
// lengths: [S] u32, at most `longest`; 0 where the offsets fall
//
// Cost: one dispatch, one write of the results.

const NONE = 0xffffffffu;

@compute @workgroup_size(128)
fn main(grid: Grid, lane: Lane) {
  let i = linear_group(grid) * 128u + lane.index;
  let sequence = i / params.longest;
  if sequence >= params.sequences { return; }
  let place = i % params.longest;
  let begin = offsets[params.offsets_base + sequence];
  let end = max(offsets[params.offsets_base + sequence + 1u], begin);
  let count = min(end - begin, params.longest);
  indices[params.indices_base + i] = select(NONE, begin + place, place < count);
  if place == 0u { lengths[params.lengths_base + sequence] = count; }
}
