// Which 16 rows and four columns of a tile of 64 rows and 64 columns are whose of 64 invocations.
// What is wanted of all tiles: rows and columns before these, products of so many elems.
struct Extent {
  rows: u32,
  columns: u32,
  elems: u32,
}

// The first of the invocation's rows and columns within the tile.
fn tile_row(lane: Lane) -> u32 {
  return lane.index / 16u * 16u;
}

fn tile_column(lane: Lane) -> u32 {
  return lane.index % 16u * 4u;
}

// How many elems of the 16 rows from `row` on are wanted, in the tile whose first column this is: none where all it gives is beyond.
fn wanted_elems(lane: Lane, extent: Extent, row: u32, first_column: u32) -> u32 {
  return select(0u, extent.elems, (row < extent.rows) & (first_column + tile_column(lane) < extent.columns));
}

