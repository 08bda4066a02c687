// Softmax attention that never stores the matrix of its weights.
//
//   s[i,j]   = scale * queries[b,h,i] . keys[b,h/(H/Hkv),j] + bias[b,h,i,j]
//   out[i]   = sum_j exp(s[i,j]) values[b,h/(H/Hkv),j] / sum_j exp(s[i,j])
//   lse[i]   = ln sum_j exp(s[i,j])
//
// With a soft cap the product with the scale is `cap tanh(scale * queries . keys / cap)`. Row i stands at key p = i + offset, and sees the
// keys p - before ..= p + after, as far as they are alive.
//
// queries:       [B, H, M, D] elem, or [B, M, H, D], as the strides say; the same holds for keys, values and out
// keys:          [B, Hkv, N, D] elem
// values:        [B, Hkv, N, V] elem
// lengths:       [B] u32; live keys
// query_lengths: [B] u32; live query rows
// bias:          [B or 1, H or 1, M or 1, N] f32; negative infinity hides a key from a row
// out:           [B, H, M, V] elem; 0 if a row is dead or sees nothing, NaN if a logit that it sees is NaN
// lse:           [B, H, M] f32, if asked for; negative infinity if a row is dead or sees nothing, NaN if a logit that it sees is NaN
//
// A key that a row does not see adds nothing to it, even if the key or its value is NaN. A key that the row sees has a weight of at least
// LEAST. So an infinite or NaN value that the row sees reaches the result, however small its weight.
//
// Cost: 2 M N (D + V) operations per head, and 2 M N D more for every further chunk of V. A workgroup has ROWS rows and a chunk of V. It
// walks over the keys with a running maximum (https://arxiv.org/abs/2205.14135), as `parts/walk.wgsl` or, for GPUs, `parts/walk_staged.wgsl`
// has it: `attend`. Tiles start at key 0 whatever the padding.

// 1 if a result of the workgroup is NaN or infinite.
var<workgroup> spoilt: atomic<u32>;

// A factor of 0 means that the row sees nothing. Any other row has a largest weight of 1.
fn store_row(place: Place, row: u32, channel: u32, result: elem_f32, factor: f32) {
  if (row < params.query_count) & (channel < params.value_channels) {
    out[place.out + row * params.out_row + channel] = elem(select(result * factor, elem_f32(), factor == 0.0));
  }
}

@compute @workgroup_size(LANES)
fn main(grid: Grid, lane: Lane) {
  let id = linear_group(grid);
  if id >= params.groups { return; }
  let tiles = (params.query_count + ROWS - 1u) / ROWS;
  let chunk = id % params.chunks;
  let tile_first = id / params.chunks % tiles * ROWS;
  let head = id / params.chunks / tiles % params.heads;
  let batch = id / params.chunks / tiles / params.heads;
  let key_head = head / (params.heads / params.key_heads);
  if lane.index == 0u {
    atomicStore(&spoilt, 0u);
    live = vec2<u32>(
      min(query_lengths[params.query_lengths_base + batch], params.query_count),
      min(lengths[params.lengths_base + batch], params.key_count),
    );
  }
  let counts = workgroupUniformLoad(&live);
  let place = Place(
    params.queries_base + batch * params.heads * params.query_count * params.channels + head * params.query_head,
    params.keys_base + batch * params.key_heads * params.key_count * params.channels + key_head * params.key_head,
    params.values_base + batch * params.key_heads * params.key_count * params.value_channels + key_head * params.value_head,
    params.bias_base + batch * params.bias_batch + head * params.bias_head,
    params.out_base + batch * params.heads * params.query_count * params.value_channels + head * params.out_head,
    params.lse_base + (batch * params.heads + head) * params.query_count,
    counts.x,
    counts.y,
    0u,
  );
  // The last live row sees the most keys.
  let last = min(tile_first + ROWS, max(place.live_queries, 1u)) - 1u;
  let reach = select(0u, visible_keys(place, last), tile_first < place.live_queries);

  // The first row sees the earliest keys.
  attend(lane, place, tile_first, chunk, first_key(place, tile_first), reach);
}
