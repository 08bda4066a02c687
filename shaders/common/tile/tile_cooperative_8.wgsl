// 8 x 8 matrices, for subgroups of 8 to 32 invocations. Each subgroup makes 8 rows of the tile at a time.
const BLOCK = 8u;

// Dot products of 16 rows from `row` on with four columns from `column` on. Call in uniform control flow.
fn dot_tile(lane: Lane, place: Place, row: u32, column: u32, elems: u32) -> Tile {
  let fetched = fetched_from(lane, place, row, column);
  let bounds = uniform_bounds(lane, elems);
  var tile = Tile();
  for (var first = 0u; first < 64u; first += bounds.y) {
    let block = first + BLOCK * lane.subgroup;
    var c0 = coop_mat8x8<f32, C>();
    var c1 = coop_mat8x8<f32, C>();
    var c2 = coop_mat8x8<f32, C>();
    var c3 = coop_mat8x8<f32, C>();
    var c4 = coop_mat8x8<f32, C>();
    var c5 = coop_mat8x8<f32, C>();
    var c6 = coop_mat8x8<f32, C>();
    var c7 = coop_mat8x8<f32, C>();
    for (var k = 0u; k < bounds.x; k += SLICE) {
      show_slice(lane, fetched, k, elems);
      for (var n = 0u; n < 16u; n += 8u) {
        let a0 = coopLoadT<coop_mat8x8<f16, A>>(&row_slice[block * STRIDE + n], STRIDE);
        let b0 = coopLoad<coop_mat8x8<f16, B>>(&column_slice[n], STRIDE);
        let b1 = coopLoad<coop_mat8x8<f16, B>>(&column_slice[8u * STRIDE + n], STRIDE);
        let b2 = coopLoad<coop_mat8x8<f16, B>>(&column_slice[16u * STRIDE + n], STRIDE);
        let b3 = coopLoad<coop_mat8x8<f16, B>>(&column_slice[24u * STRIDE + n], STRIDE);
        let b4 = coopLoad<coop_mat8x8<f16, B>>(&column_slice[32u * STRIDE + n], STRIDE);
        let b5 = coopLoad<coop_mat8x8<f16, B>>(&column_slice[40u * STRIDE + n], STRIDE);
        let b6 = coopLoad<coop_mat8x8<f16, B>>(&column_slice[48u * STRIDE + n], STRIDE);
        let b7 = coopLoad<coop_mat8x8<f16, B>>(&column_slice[56u * STRIDE + n], STRIDE);
        c0 = coopMultiplyAdd(a0, b0, c0);
        c1 = coopMultiplyAdd(a0, b1, c1);
        c2 = coopMultiplyAdd(a0, b2, c2);
        c3 = coopMultiplyAdd(a0, b3, c3);
        c4 = coopMultiplyAdd(a0, b4, c4);
        c5 = coopMultiplyAdd(a0, b5, c5);
        c6 = coopMultiplyAdd(a0, b6, c6);
        c7 = coopMultiplyAdd(a0, b7, c7);
      }
    }
    let mine = (tile_row(lane) >= first) & (tile_row(lane) < first + bounds.y);
    workgroupBarrier(); // wait until the previous half has been read
    coopStoreT(c0, &half_tile[block * 32u], 32u);
    coopStoreT(c1, &half_tile[block * 32u + 8u], 32u);
    coopStoreT(c2, &half_tile[block * 32u + 16u], 32u);
    coopStoreT(c3, &half_tile[block * 32u + 24u], 32u);
    workgroupBarrier();
    if mine & (tile_column(lane) < 32u) { tile = shown_tile(lane); }
    workgroupBarrier(); // wait until the previous half has been read
    coopStoreT(c4, &half_tile[block * 32u], 32u);
    coopStoreT(c5, &half_tile[block * 32u + 8u], 32u);
    coopStoreT(c6, &half_tile[block * 32u + 16u], 32u);
    coopStoreT(c7, &half_tile[block * 32u + 24u], 32u);
    workgroupBarrier();
    if mine & (tile_column(lane) >= 32u) { tile = shown_tile(lane); }
  }
  return tile;
}

