// The first S and the last W live places of each row.
//
// lengths: [B] u32
// indices: [B, S + W] u32; NONE after the kept ones
// kept:    [B] u32, min(length, S + W)
//
// Cost: one dispatch, one write of the results.

const NONE = 0xffffffffu;

@compute @workgroup_size(128)
fn main(grid: Grid, lane: Lane) {
  let i = linear_group(grid) * 128u + lane.index;
  let row = i / params.places;
  if row >= params.rows { return; }
  let place = i % params.places;
  let live = min(lengths[params.lengths_base + row], params.capacity);
  let count = min(live, params.places);
  let index = select(live - count + place, place, place < params.first);
  indices[params.indices_base + i] = select(NONE, index, place < count);
  if place == 0u { kept[params.kept_base + row] = count; }
}
