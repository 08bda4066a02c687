// Reads a table of integers: found[i] = table[min(index[i], entries - 1)].
//
// table: [entries] u32
// index: [elements] u32
// found: [elements] u32
//
// Cost: one dispatch; one read of the index, one write of the result.

@compute @workgroup_size(128)
fn main(grid: Grid, lane: Lane) {
  let i = linear_group(grid) * 128u + lane.index;
  if i < params.elements {
    let entry = min(index[params.index_base + i], params.entries - 1u);
    found[params.found_base + i] = table[params.table_base + entry];
  }
}
