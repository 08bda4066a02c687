// Assigns 16 rows and four columns of a 64 x 64 tile to each of 64 invocations.

// The first of the invocation's rows and columns within the tile.
fn tile_row(lane: Lane) -> u32 {
  return lane.index / 16u * 16u;
}

fn tile_column(lane: Lane) -> u32 {
  return lane.index % 16u * 4u;
}

