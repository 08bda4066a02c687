// The products of all pairs of tokens, from which greedy_select then reads those of each selected token.
//
//   gram[i, j] = unit_i . unit_j
//
// unit:    [B, N, C] f32, C / 4 elems of four numbers where C is a multiple of 4
// lengths: [B] u32; tokens from it on are dead
// gram:    [batch rows of the dispatch, tokens, tokens / 4] of four f32, with N rounded up to 64; not written for tiles of dead tokens
//
// A workgroup makes 64 x 64 products. The matrix is symmetric, bit by bit: only tiles on and above its diagonal are made, and each is also
// stored with rows and columns exchanged.
//
// Cost: N (N + 64) C operations. 64 tokens share one read of 64 others' rows.

var<workgroup> alive: u32;

struct Place {
  first_row: u32,
}

fn row_first(place: Place, token: u32) -> u32 {
  return params.unit_base + (place.first_row + min(token, params.tokens - 1u)) * params.channels;
}

fn row_elem(at: u32) -> elem_f32 {
  return unit[at];
}

fn column_first(place: Place, token: u32) -> u32 {
  return row_first(place, token);
}

fn column_elem(at: u32) -> elem_f32 {
  return unit[at];
}

// Stores four rows' products with four columns as four rows of the exchanged tile, `across` apart.
fn store_exchanged(at: u32, across: u32, a: vec4<f32>, b: vec4<f32>, c: vec4<f32>, d: vec4<f32>) {
  let columns = transpose(mat4x4<f32>(a, b, c, d));
  gram[at] = columns[0];
  gram[at + across] = columns[1];
  gram[at + 2u * across] = columns[2];
  gram[at + 3u * across] = columns[3];
}

@compute @workgroup_size(TILE_LANES)
fn main(grid: Grid, lane: Lane) {
  let id = linear_group(grid);
  if id >= params.groups { return; }
  let tiles = (params.tokens + 63u) / 64u;
  let tiles_of_row = tiles * (tiles + 1u) / 2u;
  let row_of_dispatch = id / tiles_of_row;
  // The r-th row of tiles and the r-th from below have tiles + 1 of them together.
  let r = id % tiles_of_row / (tiles + 1u);
  let c = id % tiles_of_row % (tiles + 1u);
  let below = c >= tiles - r;
  let tile_of_rows = select(r, tiles - 1u - r, below);
  let first_token = tile_of_rows * 64u;
  let first_other = (tile_of_rows + select(c, c - (tiles - r), below)) * 64u;
  let batch = params.first_batch + row_of_dispatch;
  if lane.index == 0u {
    alive = min(lengths[params.lengths_base + batch], params.tokens);
  }
  let live = workgroupUniformLoad(&alive);
  if first_other >= live { return; }

  let place = Place(batch * params.tokens);
  let row = first_token + tile_row(lane);
  let column = first_other + tile_column(lane);
  let extent = Extent(live, live, params.channels);
  let tile = dot_tile(lane, place, row, column, wanted_elems(lane, extent, row, first_other));
  let across = tiles * 16u;
  let first = params.gram_base + row_of_dispatch * tiles * 64u * across;
  let at = first + row * across + column / 4u;
  gram[at] = tile.r0;
  gram[at + across] = tile.r1;
  gram[at + 2u * across] = tile.r2;
  gram[at + 3u * across] = tile.r3;
  gram[at + 4u * across] = tile.r4;
  gram[at + 5u * across] = tile.r5;
  gram[at + 6u * across] = tile.r6;
  gram[at + 7u * across] = tile.r7;
  if TALL {
    gram[at + 8u * across] = tile.r8;
    gram[at + 9u * across] = tile.r9;
    gram[at + 10u * across] = tile.r10;
    gram[at + 11u * across] = tile.r11;
    gram[at + 12u * across] = tile.r12;
    gram[at + 13u * across] = tile.r13;
    gram[at + 14u * across] = tile.r14;
    gram[at + 15u * across] = tile.r15;
  }
  if first_other == first_token { return; }
  let exchanged = first + column * across + row / 4u;
  store_exchanged(exchanged, across, tile.r0, tile.r1, tile.r2, tile.r3);
  store_exchanged(exchanged + 1u, across, tile.r4, tile.r5, tile.r6, tile.r7);
  if TALL {
    store_exchanged(exchanged + 2u, across, tile.r8, tile.r9, tile.r10, tile.r11);
    store_exchanged(exchanged + 3u, across, tile.r12, tile.r13, tile.r14, tile.r15);
  }
}
