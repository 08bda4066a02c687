// Assigns 16 rows and four columns of a 64 x 64 tile to each of 64 invocations.
const TILE_LANES = 64u;
const TILE_ROWS = 16u; // of an invocation
const TALL = true; // more than eight rows

// The first of the invocation's rows and columns within the tile.
fn tile_row(lane: Lane) -> u32 {
  return lane.index / 16u * 16u;
}

fn tile_column(lane: Lane) -> u32 {
  return lane.index % 16u * 4u;
}

