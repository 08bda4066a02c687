// `tile_lanes.wgsl` for subgroups of exactly eight invocations, which have 16 rows in common.
// What is wanted of all tiles: rows and columns before these, products of so many elems.
struct Extent {
  rows: u32,
  columns: u32,
  elems: u32,
}

// The first of the invocation's rows and columns within the tile.
fn tile_row(lane: Lane) -> u32 {
  return lane.subgroup % 4u * 16u;
}

fn tile_column(lane: Lane) -> u32 {
  return lane.subgroup / 4u * 32u + lane.in_subgroup * 4u;
}

// How many elems of the 16 rows from `row` on are wanted, in the tile whose first column this is: none where all it gives is beyond. The
// same for all of a subgroup.
fn wanted_elems(lane: Lane, extent: Extent, row: u32, first_column: u32) -> u32 {
  return select(0u, extent.elems, (row < extent.rows) & (first_column + lane.subgroup / 4u * 32u < extent.columns));
}

