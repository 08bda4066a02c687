// Softmax attention without the matrix of its weights.
//
//   s[i,j]   = scale * queries[b,h,i] . keys[b,h/(H/Hkv),j] + bias[b,h,i,j]
//   out[i]   = sum_j exp(s[i,j]) values[b,h/(H/Hkv),j] / sum_j exp(s[i,j])
//   lse[i]   = ln sum_j exp(s[i,j])
//
// queries:       [B, H, M, D] elem, or [B, M, H, D], as the strides say; so the following
// keys:          [B, Hkv, N, D] elem
// values:        [B, Hkv, N, V] elem
// lengths:       [B] u32; live keys
// query_lengths: [B] u32; live query rows
// bias:          [B or 1, H or 1, M or 1, N] f32; negative infinity hides a key from a row
// out:           [B, H, M, V] elem; 0 where a row is dead or sees nothing
// lse:           [B, H, M] f32, if asked for; 0 there too
//
// Cost: 2 M N (D + V) operations a head, 2 M N D more for each 16 elem of V above the first 16. A workgroup has 32 rows and 16
// elem of V, and walks over the keys 32 at a time with a running maximum (https://arxiv.org/abs/2205.14135). Of its 8x8 lanes,
// lane (x, y) has the logits of four rows 4y.. and four keys 4x.., then the results of the same rows and of two elem of V.
// Tiles start at key 0 whatever the padding.
struct Params {
  queries_base: u32,
  keys_base: u32,
  values_base: u32,
  lengths_base: u32,
  query_lengths_base: u32,
  bias_base: u32,
  out_base: u32,
  lse_base: u32,
  groups: u32,
  heads: u32,
  key_heads: u32,
  query_count: u32,
  key_count: u32,
  channels: u32,
  value_channels: u32,
  query_head: u32,
  query_row: u32,
  key_head: u32,
  key_row: u32,
  value_head: u32,
  value_row: u32,
  out_head: u32,
  out_row: u32,
  bias_batch: u32,
  bias_head: u32,
  bias_row: u32,
  chunks: u32,
  causal: u32,
  biased: u32,
  with_lse: u32,
  scale: f32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> queries: array<elem>;
@group(0) @binding(2) var<storage, read> keys: array<elem>;
@group(0) @binding(3) var<storage, read> values: array<elem>;
@group(0) @binding(4) var<storage, read> lengths: array<u32>;
@group(0) @binding(5) var<storage, read> query_lengths: array<u32>;
@group(0) @binding(6) var<storage, read> bias: array<f32>;
@group(0) @binding(7) var<storage, read_write> out: array<elem>;
@group(0) @binding(8) var<storage, read_write> lse: array<f32>;

const LOWEST = -3.4028234e38;
const HIDDEN = 0xff800000u; // the bits of negative infinity
// One number for each of a lane's four rows.
var<workgroup> of_lanes: array<vec4<f32>, 64>;
// Row t of the tile and four keys: [t, 8].
var<workgroup> weights: array<vec4<f32>, 256>;
var<workgroup> tile_reach: u32;

// How many keys, from the first on, this row sees: none if it is dead. Right-aligned where causal.
fn visible_keys(row: u32, live_queries: u32, live_keys: u32) -> u32 {
  let reach = row + 1u + live_keys;
  let seen = select(live_keys, reach - min(reach, live_queries), params.causal == 1u);
  return select(0u, seen, row < live_queries);
}

fn products(a: elem_f32, b0: elem_f32, b1: elem_f32, b2: elem_f32, b3: elem_f32) -> vec4<f32> {
  return vec4<f32>(elem_dot(a, b0), elem_dot(a, b1), elem_dot(a, b2), elem_dot(a, b3));
}

// Bias of a row and four keys. Those beyond the last read the last: what comes of them is masked.
fn bias_of(first: u32, row: u32, key: u32) -> vec4<f32> {
  if params.biased == 0u { return vec4<f32>(); }
  let at = first + min(row, params.query_count - 1u) * params.bias_row;
  let last = params.key_count - 1u;
  return vec4<f32>(bias[at + min(key, last)], bias[at + min(key + 1u, last)], bias[at + min(key + 2u, last)], bias[at + min(key + 3u, last)]);
}

// The logits that count, of those that the row sees.
fn masked(logits: vec4<f32>, offset: vec4<f32>, see: vec4<bool>) -> vec4<f32> {
  let shown = bitcast<vec4<u32>>(offset) != vec4<u32>(HIDDEN);
  return select(vec4<f32>(LOWEST), params.scale * logits + offset, see & shown);
}

// Their weights: none for those that do not count.
fn weighted(logits: vec4<f32>, largest: f32, offset: vec4<f32>, see: vec4<bool>) -> vec4<f32> {
  let shown = bitcast<vec4<u32>>(offset) != vec4<u32>(HIDDEN);
  return select(vec4<f32>(), exp(logits - largest), see & shown);
}

fn largest_of(v: vec4<f32>) -> f32 {
  return max(max(v.x, v.y), max(v.z, v.w));
}

fn sum_of(v: vec4<f32>) -> f32 {
  return (v.x + v.y) + (v.z + v.w);
}


fn store(row: u32, at: u32, channel: u32, result: elem_f32) {
  if row < params.query_count && channel < params.value_channels { out[at + row * params.out_row + channel] = elem(result); }
}

@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  lane: Lane,
) {
  let id = linear_group(group, groups);
  if id >= params.groups { return; }
  let tiles = (params.query_count + 31u) / 32u;
  let chunk = id % params.chunks;
  let tile_first = id / params.chunks % tiles * 32u;
  let head = id / params.chunks / tiles % params.heads;
  let batch = id / params.chunks / tiles / params.heads;
  let shared_head = head / (params.heads / params.key_heads);
  let x = lane.index % 8u;
  let y = lane.index / 8u;

  let live_keys = min(lengths[params.lengths_base + batch], params.key_count);
  let live_queries = min(query_lengths[params.query_lengths_base + batch], params.query_count);
  if lane.index == 0u {
    let last = min(tile_first + 31u, max(live_queries, 1u) - 1u);
    tile_reach = select(0u, visible_keys(last, live_queries, live_keys), tile_first < live_queries);
  }
  let reach = workgroupUniformLoad(&tile_reach);

  let row = tile_first + y * 4u;
  let last_row = params.query_count - 1u;
  let query = params.queries_base + batch * params.heads * params.query_count * params.channels + head * params.query_head;
  let query0 = query + min(row, last_row) * params.query_row;
  let query1 = query + min(row + 1u, last_row) * params.query_row;
  let query2 = query + min(row + 2u, last_row) * params.query_row;
  let query3 = query + min(row + 3u, last_row) * params.query_row;
  let visible0 = vec4<u32>(visible_keys(row, live_queries, live_keys));
  let visible1 = vec4<u32>(visible_keys(row + 1u, live_queries, live_keys));
  let visible2 = vec4<u32>(visible_keys(row + 2u, live_queries, live_keys));
  let visible3 = vec4<u32>(visible_keys(row + 3u, live_queries, live_keys));
  let key_first = params.keys_base + batch * params.key_heads * params.key_count * params.channels + shared_head * params.key_head;
  let bias_first = params.bias_base + batch * params.bias_batch + head * params.bias_head;
  // Channels beyond the last read the last.
  let near = chunk * 16u + x;
  let far = near + 8u;
  let last_channel = max(params.value_channels, 1u) - 1u;
  let value_first = params.values_base + batch * params.key_heads * params.key_count * params.value_channels
    + shared_head * params.value_head;
  let near_first = value_first + min(near, last_channel);
  let far_first = value_first + min(far, last_channel);

  var largest = vec4<f32>(LOWEST);
  var total = vec4<f32>();
  var near0 = elem_f32();
  var near1 = elem_f32();
  var near2 = elem_f32();
  var near3 = elem_f32();
  var far0 = elem_f32();
  var far1 = elem_f32();
  var far2 = elem_f32();
  var far3 = elem_f32();
  for (var first = 0u; first < reach; first += 32u) {
    let key = first + x * 4u;
    let last = params.key_count - 1u;
    let key0 = key_first + min(key, last) * params.key_row;
    let key1 = key_first + min(key + 1u, last) * params.key_row;
    let key2 = key_first + min(key + 2u, last) * params.key_row;
    let key3 = key_first + min(key + 3u, last) * params.key_row;
    var logits0 = vec4<f32>();
    var logits1 = vec4<f32>();
    var logits2 = vec4<f32>();
    var logits3 = vec4<f32>();
    for (var c = 0u; c < params.channels; c++) {
      let k0 = elem_f32(keys[key0 + c]);
      let k1 = elem_f32(keys[key1 + c]);
      let k2 = elem_f32(keys[key2 + c]);
      let k3 = elem_f32(keys[key3 + c]);
      logits0 += products(elem_f32(queries[query0 + c]), k0, k1, k2, k3);
      logits1 += products(elem_f32(queries[query1 + c]), k0, k1, k2, k3);
      logits2 += products(elem_f32(queries[query2 + c]), k0, k1, k2, k3);
      logits3 += products(elem_f32(queries[query3 + c]), k0, k1, k2, k3);
    }
    let four = vec4<u32>(key, key + 1u, key + 2u, key + 3u);
    let offset0 = bias_of(bias_first, row, key);
    let offset1 = bias_of(bias_first, row + 1u, key);
    let offset2 = bias_of(bias_first, row + 2u, key);
    let offset3 = bias_of(bias_first, row + 3u, key);
    logits0 = masked(logits0, offset0, four < visible0);
    logits1 = masked(logits1, offset1, four < visible1);
    logits2 = masked(logits2, offset2, four < visible2);
    logits3 = masked(logits3, offset3, four < visible3);
    of_lanes[lane.index] = vec4<f32>(largest_of(logits0), largest_of(logits1), largest_of(logits2), largest_of(logits3));
    workgroupBarrier(); // the maxima are there, and the last tile's weights have been read
    var next = largest;
    for (var i = 0u; i < 8u; i++) {
      next = max(next, of_lanes[y * 8u + i]);
    }
    // The exponential is rounded, so it is applied only where the maximum grew: a masked tile changes nothing.
    let factor = select(exp(largest - next), vec4<f32>(1.0), largest == next);
    largest = next;
    let weights0 = weighted(logits0, largest.x, offset0, four < visible0);
    let weights1 = weighted(logits1, largest.y, offset1, four < visible1);
    let weights2 = weighted(logits2, largest.z, offset2, four < visible2);
    let weights3 = weighted(logits3, largest.w, offset3, four < visible3);
    total = total * factor + vec4<f32>(sum_of(weights0), sum_of(weights1), sum_of(weights2), sum_of(weights3));
    weights[y * 32u + x] = weights0;
    weights[y * 32u + 8u + x] = weights1;
    weights[y * 32u + 16u + x] = weights2;
    weights[y * 32u + 24u + x] = weights3;
    workgroupBarrier(); // the weights are there, and the maxima have been read
    near0 *= factor.x;
    near1 *= factor.y;
    near2 *= factor.z;
    near3 *= factor.w;
    far0 *= factor.x;
    far1 *= factor.y;
    far2 *= factor.z;
    far3 *= factor.w;
    let keys_of_tile = min(select(32u, 0u, params.value_channels == 0u), reach - first);
    for (var i = 0u; i < keys_of_tile; i++) {
      let at = (first + i) * params.value_row;
      let near_value = elem_f32(values[near_first + at]);
      let far_value = elem_f32(values[far_first + at]);
      let slot = y * 32u + i / 4u;
      let component = i % 4u;
      let w0 = weights[slot][component];
      let w1 = weights[slot + 8u][component];
      let w2 = weights[slot + 16u][component];
      let w3 = weights[slot + 24u][component];
      near0 += w0 * near_value;
      near1 += w1 * near_value;
      near2 += w2 * near_value;
      near3 += w3 * near_value;
      far0 += w0 * far_value;
      far1 += w1 * far_value;
      far2 += w2 * far_value;
      far3 += w3 * far_value;
    }
  }

  of_lanes[lane.index] = total;
  workgroupBarrier();
  total = vec4<f32>();
  for (var i = 0u; i < 8u; i++) {
    total += of_lanes[y * 8u + i];
  }
  // Nothing was added where nothing is seen; the largest weight is 1 elsewhere.
  let sees = total > vec4<f32>();
  let inverse = select(vec4<f32>(), 1.0 / total, sees);
  let at = params.out_base + batch * params.heads * params.query_count * params.value_channels + head * params.out_head;
  store(row, at, near, near0 * inverse.x);
  store(row, at, far, far0 * inverse.x);
  store(row + 1u, at, near, near1 * inverse.y);
  store(row + 1u, at, far, far1 * inverse.y);
  store(row + 2u, at, near, near2 * inverse.z);
  store(row + 2u, at, far, far2 * inverse.z);
  store(row + 3u, at, near, near3 * inverse.w);
  store(row + 3u, at, far, far3 * inverse.w);
  if params.with_lse == 1u && chunk == 0u && x == 0u {
    let lse_first = params.lse_base + (batch * params.heads + head) * params.query_count + row;
    let of_rows = select(vec4<f32>(), largest + log(total), sees);
    for (var i = 0u; i < 4u; i++) {
      if row + i < params.query_count { lse[lse_first + i] = of_rows[i]; }
    }
  }
}
