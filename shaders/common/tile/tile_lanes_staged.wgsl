// `tile_lanes.wgsl` for GPUs: 128 invocations, with eight rows and four columns each.
const TILE_LANES = 128u;
const TILE_ROWS = 8u; // of an invocation
const TALL = false; // no more than eight rows

// The first of the invocation's rows and columns within the tile.
fn tile_row(lane: Lane) -> u32 {
  return lane.index / 16u * 8u;
}

fn tile_column(lane: Lane) -> u32 {
  return lane.index % 16u * 4u;
}

