// The sum or the maximum of the weights that each key gets from a chunk of the query rows.
//
//   weight(r, j)        = queries[b,h,row(r)] . keys[b,h/(H/Hkv),j], scaled and biased, or exp(that - largest[b,h,r]) / sum[b,h,r]
//   partials[s,b,h,j]   = sum (maximum) of weight(r, j) over the rows r of chunk s that see key j
//
// queries:       [B, H, M, D] elem
// keys:          [B, Hkv, N, D] elem
// lengths:       [B] u32; live keys
// query_lengths: [B] u32; live query rows
// bias:          [B, N] f32
// list:          [R] u32; the rows asked for
// sums:          [2, B, heads, R] f32; each row's largest logit, then the sums of exp(logit - largest); read for softmax only
// partials:      [S, B, heads, columns] f32; 0 for a sum, the lowest float for a maximum, if no row of the chunk sees the key
//
// The workspace is one buffer that holds some inputs and some outputs, so no binding can be read-only.
//
// Cost: 2 R N D operations per head (`parts/columns.wgsl`).

fn add_rows(lane: Lane, place: Place, r: u32, tile_key: u32, offset: vec4<f32>, key: vec4<u32>, totals: vec4<f32>) -> vec4<f32> {
  let column = tile_key + tile_column(lane);
  let extent = Extent(params.rows, place.live_keys, params.channels);
  let tile = dot_tile(lane, place, r, column, wanted_elems(lane, extent, r, tile_key));
  let facts = row_facts(lane, place, r);
  var sums = totals;
  sums = add_row(sums, tile.r0, offset, facts.r0, key);
  sums = add_row(sums, tile.r1, offset, facts.r1, key);
  sums = add_row(sums, tile.r2, offset, facts.r2, key);
  sums = add_row(sums, tile.r3, offset, facts.r3, key);
  if TILE_ROWS > 4u {
    sums = add_row(sums, tile.r4, offset, facts.r4, key);
    sums = add_row(sums, tile.r5, offset, facts.r5, key);
    sums = add_row(sums, tile.r6, offset, facts.r6, key);
    sums = add_row(sums, tile.r7, offset, facts.r7, key);
  }
  if TALL {
    sums = add_row(sums, tile.r8, offset, facts.r8, key);
    sums = add_row(sums, tile.r9, offset, facts.r9, key);
    sums = add_row(sums, tile.r10, offset, facts.r10, key);
    sums = add_row(sums, tile.r11, offset, facts.r11, key);
    sums = add_row(sums, tile.r12, offset, facts.r12, key);
    sums = add_row(sums, tile.r13, offset, facts.r13, key);
    sums = add_row(sums, tile.r14, offset, facts.r14, key);
    sums = add_row(sums, tile.r15, offset, facts.r15, key);
  }
  return sums;
}
