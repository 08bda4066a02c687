// Unscaled dot products of a few query rows with the keys that each row sees. If a workgroup has a whole row, it also makes the row's
// largest logit and the sum of its exponentials.
//
//   logits[b,h,r,j] = sum_c queries[b, h, row(r), c] * keys[b, h / (H / Hkv), j, c]
//   s[b,h,r,j]      = scale * logits[b,h,r,j] + bias[b,j]
//   sums[0,b,h,r]   = max_j s[b,h,r,j],     sums[1,b,h,r] = sum_j exp(s[b,h,r,j] - sums[0,b,h,r])
//
// queries:       [B, H, M, D] elem
// keys:          [B, Hkv, N, D] elem
// lengths:       [B] u32; live keys
// query_lengths: [B] u32; live query rows
// bias:          [B, N] f32
// list:          [R] u32; the rows asked for
// logits:        [B, heads, R, N] f32; undefined where the row does not see the key
// sums:          [2, B, heads, R] f32, if asked for; the sum is 0 if a row is dead or sees nothing, NaN if a logit that it sees is NaN
//
// Cost: one pass over the keys. A workgroup has `block` of a row's keys. An invocation takes every TEAM-th of them, four at a time, and
// reads its own logits again for the sum. A short row belongs to one invocation.

@compute @workgroup_size(GROUP)
fn main(grid: Grid, lane: Lane) {
  let id = team_row(grid, lane);
  if id >= params.groups { return; }
  let blocks = (max(params.key_count, 1u) + params.block - 1u) / params.block;
  let of_row = id / blocks;
  let r = of_row % params.rows;
  let head = of_row / params.rows % params.heads;
  let batch = of_row / params.rows / params.heads;
  let live_keys = min(lengths[params.lengths_base + batch], params.key_count);
  let live_queries = min(query_lengths[params.query_lengths_base + batch], params.query_count);
  let row = query_row(r, live_queries);
  let visible = visible_keys(row, live_queries, live_keys);

  let head_key = first_key(batch, head);
  let q = query_base(first_query(batch, head), row);
  let out = params.logits_base + of_row * params.key_count;
  let first = (id - of_row * blocks) * params.block;
  let end = min(first + params.block, visible);
  for (var key = first + team_lane(lane); key < end; key += 4u * TEAM) {
    let k0 = key_base(head_key, key);
    let k1 = key_base(head_key, key + TEAM);
    let k2 = key_base(head_key, key + 2u * TEAM);
    let k3 = key_base(head_key, key + 3u * TEAM);
    var four = vec4<f32>();
    for (var c = 0u; c < params.channels; c++) {
      four += products(elem_f32(queries[q + c]), elem_f32(keys[k0 + c]), elem_f32(keys[k1 + c]), elem_f32(keys[k2 + c]), elem_f32(keys[k3 + c]));
    }
    logits[out + key] = four.x;
    if key + TEAM < end { logits[out + key + TEAM] = four.y; }
    if key + 2u * TEAM < end { logits[out + key + 2u * TEAM] = four.z; }
    if key + 3u * TEAM < end { logits[out + key + 3u * TEAM] = four.w; }
  }
  if params.with_sums == 1u {
    let whole = stored_sums(lane, batch, out, visible);
    if team_lane(lane) == 0u {
      sums[params.sums_base + of_row] = whole.x;
      sums[params.sums_base + params.batch * params.heads * params.rows + of_row] = whole.y;
    }
  }
}
