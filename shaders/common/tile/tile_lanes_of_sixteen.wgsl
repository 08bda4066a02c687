// `tile_lanes.wgsl` for GPUs: 16 invocations lie side by side.

// The first of the invocation's rows and columns within the tile.
fn tile_row(lane: Lane) -> u32 {
  return lane.index / 16u * TILE_ROWS;
}

fn tile_column(lane: Lane) -> u32 {
  return lane.index % 16u * 4u;
}

