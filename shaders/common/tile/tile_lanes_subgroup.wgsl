// `tile_lanes.wgsl` for subgroups of exactly eight invocations, which share 16 rows.
const TILE_LANES = 64u;
const TILE_ROWS = 16u; // of an invocation
const TALL = true; // more than eight rows

// The first of the invocation's rows and columns within the tile.
fn tile_row(lane: Lane) -> u32 {
  return lane.subgroup % 4u * 16u;
}

fn tile_column(lane: Lane) -> u32 {
  return lane.subgroup / 4u * 32u + lane.in_subgroup * 4u;
}

