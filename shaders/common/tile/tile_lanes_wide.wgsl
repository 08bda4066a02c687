// `tile_lanes.wgsl` for GPUs with subgroups of up to 64: 256 invocations, with four rows and four columns each.
const TILE_LANES = 256u;
const TILE_ROWS = 4u; // of an invocation
const TALL = false; // no more than eight rows

// The first of the invocation's rows and columns within the tile.
fn tile_row(lane: Lane) -> u32 {
  return lane.index / 16u * 4u;
}

fn tile_column(lane: Lane) -> u32 {
  return lane.index % 16u * 4u;
}

