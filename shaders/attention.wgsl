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
// Cost: 2 M N (D + V) operations a head, 2 M N D more for each 16 elem of V above the first 16. A workgroup has ROWS rows and 16
// elem of V, and walks over the keys KEYS at a time with a running maximum (https://arxiv.org/abs/2205.14135). An invocation has the
// logits of 16 rows and four keys, then the results of the same rows and of one elem of V, or of two where FAR. It has its rows in
// common with others, from which it gets their maxima and their weights (`common/shared_rows.wgsl`). What is done to rows is written
// for four of them. Tiles start at key 0 whatever the padding.
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

// Query rows and keys that are alive.
var<workgroup> live: vec2<u32>;

const LOWEST = -3.4028234e38;
const HIDDEN = 0xff800000u; // the bits of negative infinity: the logit of a key that a row does not see

// Where the tensors of this batch row and head begin.
struct Place {
  queries: u32,
  keys: u32,
  values: u32,
  bias: u32,
  out: u32,
  live_queries: u32,
  live_keys: u32,
}

// One elem for each of four rows, or of four keys.
struct Four {
  r0: elem_f32,
  r1: elem_f32,
  r2: elem_f32,
  r3: elem_f32,
}

// Rows and keys beyond the last read the last: what comes of them is masked.
fn row_first(place: Place, row: u32) -> u32 {
  return place.queries + min(row, params.query_count - 1u) * params.query_row;
}

fn row_elem(at: u32) -> elem_f32 {
  return elem_f32(queries[at]);
}

fn column_first(place: Place, key: u32) -> u32 {
  return place.keys + min(key, params.key_count - 1u) * params.key_row;
}

fn column_elem(at: u32) -> elem_f32 {
  return elem_f32(keys[at]);
}

// Values of four keys from this one on, of which those from `reach` on have no weight.
fn four_values(place: Place, key: u32, reach: u32, channel: u32) -> Four {
  let at = place.values + min(channel, params.value_channels - 1u);
  return Four(
    elem_f32(values[at + min(key, reach - 1u) * params.value_row]),
    elem_f32(values[at + min(key + 1u, reach - 1u) * params.value_row]),
    elem_f32(values[at + min(key + 2u, reach - 1u) * params.value_row]),
    elem_f32(values[at + min(key + 3u, reach - 1u) * params.value_row]),
  );
}

// How many keys, from the first on, this row sees: none if it is dead. Right-aligned where causal.
fn visible_keys(place: Place, row: u32) -> u32 {
  let reach = row + 1u + place.live_keys;
  let seen = select(place.live_keys, reach - min(reach, place.live_queries), params.causal == 1u);
  return select(0u, seen, row < place.live_queries);
}

// A row's logits of four keys from `key` on.
fn biased(place: Place, row: u32, key: u32, logits: vec4<f32>) -> vec4<f32> {
  let at = place.bias + min(row, params.query_count - 1u) * params.bias_row;
  let last = params.key_count - 1u;
  let offset = vec4<f32>(
    bias[at + min(key, last)], bias[at + min(key + 1u, last)], bias[at + min(key + 2u, last)], bias[at + min(key + 3u, last)]
  );
  let bits = bitcast<vec4<u32>>(offset);
  return bitcast<vec4<f32>>(select(bitcast<vec4<u32>>(logits + offset), bits, bits == vec4<u32>(HIDDEN)));
}

fn masked(place: Place, row: u32, key: u32, logits: vec4<f32>) -> vec4<f32> {
  let see = vec4<u32>(key, key + 1u, key + 2u, key + 3u) < vec4<u32>(visible_keys(place, row));
  return bitcast<vec4<f32>>(select(vec4<u32>(HIDDEN), bitcast<vec4<u32>>(logits), see));
}

// Four rows' logits of four keys, given their products.
fn logits_of(place: Place, row: u32, key: u32, r0: vec4<f32>, r1: vec4<f32>, r2: vec4<f32>, r3: vec4<f32>) -> mat4x4<f32> {
  var logits = mat4x4<f32>(params.scale * r0, params.scale * r1, params.scale * r2, params.scale * r3);
  if params.biased == 1u {
    logits = mat4x4<f32>(
      biased(place, row, key, logits[0]),
      biased(place, row + 1u, key, logits[1]),
      biased(place, row + 2u, key, logits[2]),
      biased(place, row + 3u, key, logits[3]),
    );
  }
  return mat4x4<f32>(
    masked(place, row, key, logits[0]),
    masked(place, row + 1u, key, logits[1]),
    masked(place, row + 2u, key, logits[2]),
    masked(place, row + 3u, key, logits[3]),
  );
}

fn largest_of(logits: vec4<f32>) -> f32 {
  let shown = select(logits, vec4<f32>(LOWEST), bitcast<vec4<u32>>(logits) == vec4<u32>(HIDDEN));
  return max(max(shown.x, shown.y), max(shown.z, shown.w));
}

fn maxima_of(logits: mat4x4<f32>) -> vec4<f32> {
  return vec4<f32>(largest_of(logits[0]), largest_of(logits[1]), largest_of(logits[2]), largest_of(logits[3]));
}

// What earlier sums are multiplied with where the maximum grew. The exponential is rounded, so elsewhere a masked tile changes nothing.
fn factor_of(largest: vec4<f32>, next: vec4<f32>) -> vec4<f32> {
  return select(exp(largest - next), vec4<f32>(1.0), largest == next);
}

fn row_weights(logits: vec4<f32>, largest: f32) -> vec4<f32> {
  return select(exp(logits - largest), vec4<f32>(), bitcast<vec4<u32>>(logits) == vec4<u32>(HIDDEN));
}

fn weights_of(logits: mat4x4<f32>, largest: vec4<f32>) -> mat4x4<f32> {
  return mat4x4<f32>(
    row_weights(logits[0], largest.x),
    row_weights(logits[1], largest.y),
    row_weights(logits[2], largest.z),
    row_weights(logits[3], largest.w),
  );
}

fn sum_of(v: vec4<f32>) -> f32 {
  return (v.x + v.y) + (v.z + v.w);
}

fn sums_of(weights: mat4x4<f32>) -> vec4<f32> {
  return vec4<f32>(sum_of(weights[0]), sum_of(weights[1]), sum_of(weights[2]), sum_of(weights[3]));
}

fn scaled(rows: Four, factor: vec4<f32>) -> Four {
  return Four(rows.r0 * factor.x, rows.r1 * factor.y, rows.r2 * factor.z, rows.r3 * factor.w);
}

fn weighted(weights: vec4<f32>, keys: Four) -> elem_f32 {
  return (weights.x * keys.r0 + weights.y * keys.r1) + (weights.z * keys.r2 + weights.w * keys.r3);
}

fn plus(rows: Four, weights: mat4x4<f32>, keys: Four) -> Four {
  return Four(
    rows.r0 + weighted(weights[0], keys),
    rows.r1 + weighted(weights[1], keys),
    rows.r2 + weighted(weights[2], keys),
    rows.r3 + weighted(weights[3], keys),
  );
}

// Nothing was added to a row that sees nothing; the largest weight is 1 elsewhere.
fn store_row(place: Place, row: u32, channel: u32, result: elem_f32, total: f32) {
  if row < params.query_count && channel < params.value_channels {
    out[place.out + row * params.out_row + channel] = elem(select(result * (1.0 / total), elem_f32(), total == 0.0));
  }
}

fn store(place: Place, row: u32, channel: u32, rows: Four, total: vec4<f32>) {
  store_row(place, row, channel, rows.r0, total.x);
  store_row(place, row + 1u, channel, rows.r1, total.y);
  store_row(place, row + 2u, channel, rows.r2, total.z);
  store_row(place, row + 3u, channel, rows.r3, total.w);
}

fn store_lse(first: u32, row: u32, largest: vec4<f32>, total: vec4<f32>) {
  let sums = select(largest + log(total), vec4<f32>(), total == vec4<f32>());
  for (var i = 0u; i < 4u; i++) {
    if row + i < params.query_count { lse[first + row + i] = sums[i]; }
  }
}

@compute @workgroup_size(LANES)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  lane: Lane,
) {
  let id = linear_group(group, groups);
  if id >= params.groups { return; }
  let tiles = (params.query_count + ROWS - 1u) / ROWS;
  let chunk = id % params.chunks;
  let tile_first = id / params.chunks % tiles * ROWS;
  let head = id / params.chunks / tiles % params.heads;
  let batch = id / params.chunks / tiles / params.heads;
  let key_head = head / (params.heads / params.key_heads);
  if lane.index == 0u {
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
    counts.x,
    counts.y,
  );
  // Of the live rows the last sees the most.
  let last = min(tile_first + ROWS, max(place.live_queries, 1u)) - 1u;
  let reach = select(0u, visible_keys(place, last), tile_first < place.live_queries);

  let row = tile_first + shared_row(lane);
  let near_channel = chunk * 16u + shared_channel(lane);
  let far_channel = near_channel + 8u;
  // Sixteen dead rows take no time.
  let channels = select(0u, params.channels, row < place.live_queries);
  let end = select(0u, reach, (row < place.live_queries) & (params.value_channels > 0u));
  var largest = mat4x4<f32>(vec4<f32>(LOWEST), vec4<f32>(LOWEST), vec4<f32>(LOWEST), vec4<f32>(LOWEST));
  var total = mat4x4<f32>();
  var near0 = Four();
  var near1 = Four();
  var near2 = Four();
  var near3 = Four();
  var far0 = Four();
  var far1 = Four();
  var far2 = Four();
  var far3 = Four();
  for (var first = 0u; first < reach; first += KEYS) {
    let key = first + shared_key(lane);
    let tile = dot_tile(lane, place, row, key, channels);
    let logits0 = logits_of(place, row, key, tile.r0, tile.r1, tile.r2, tile.r3);
    let logits1 = logits_of(place, row + 4u, key, tile.r4, tile.r5, tile.r6, tile.r7);
    let logits2 = logits_of(place, row + 8u, key, tile.r8, tile.r9, tile.r10, tile.r11);
    let logits3 = logits_of(place, row + 12u, key, tile.r12, tile.r13, tile.r14, tile.r15);
    let maxima = mat4x4<f32>(maxima_of(logits0), maxima_of(logits1), maxima_of(logits2), maxima_of(logits3));
    let tops = over_lanes(lane, maxima, false);
    let next = mat4x4<f32>(max(largest[0], tops[0]), max(largest[1], tops[1]), max(largest[2], tops[2]), max(largest[3], tops[3]));
    let factor0 = factor_of(largest[0], next[0]);
    let factor1 = factor_of(largest[1], next[1]);
    let factor2 = factor_of(largest[2], next[2]);
    let factor3 = factor_of(largest[3], next[3]);
    largest = next;
    let weights0 = weights_of(logits0, largest[0]);
    let weights1 = weights_of(logits1, largest[1]);
    let weights2 = weights_of(logits2, largest[2]);
    let weights3 = weights_of(logits3, largest[3]);
    total = mat4x4<f32>(
      total[0] * factor0 + sums_of(weights0),
      total[1] * factor1 + sums_of(weights1),
      total[2] * factor2 + sums_of(weights2),
      total[3] * factor3 + sums_of(weights3),
    );
    near0 = scaled(near0, factor0);
    near1 = scaled(near1, factor1);
    near2 = scaled(near2, factor2);
    near3 = scaled(near3, factor3);
    if FAR {
      far0 = scaled(far0, factor0);
      far1 = scaled(far1, factor1);
      far2 = scaled(far2, factor2);
      far3 = scaled(far3, factor3);
    }
    for (var part = first; part < first + KEYS; part += 32u) {
      share_weights(lane, part - first, weights0, weights1, weights2, weights3);
      for (var four = part; four < min(part + 32u, end); four += 4u) {
        let owner = (four - part) / 4u;
        let shared0 = shared_weights(lane, 0u, owner, weights0);
        let shared1 = shared_weights(lane, 4u, owner, weights1);
        let shared2 = shared_weights(lane, 8u, owner, weights2);
        let shared3 = shared_weights(lane, 12u, owner, weights3);
        let near_values = four_values(place, four, reach, near_channel);
        near0 = plus(near0, shared0, near_values);
        near1 = plus(near1, shared1, near_values);
        near2 = plus(near2, shared2, near_values);
        near3 = plus(near3, shared3, near_values);
        if FAR {
          let far_values = four_values(place, four, reach, far_channel);
          far0 = plus(far0, shared0, far_values);
          far1 = plus(far1, shared1, far_values);
          far2 = plus(far2, shared2, far_values);
          far3 = plus(far3, shared3, far_values);
        }
      }
    }
  }

  total = over_lanes(lane, total, true);
  store(place, row, near_channel, near0, total[0]);
  store(place, row + 4u, near_channel, near1, total[1]);
  store(place, row + 8u, near_channel, near2, total[2]);
  store(place, row + 12u, near_channel, near3, total[3]);
  if FAR {
    store(place, row, far_channel, far0, total[0]);
    store(place, row + 4u, far_channel, far1, total[1]);
    store(place, row + 8u, far_channel, far2, total[2]);
    store(place, row + 12u, far_channel, far3, total[3]);
  }
  if params.with_lse == 1u && near_channel == 0u {
    let lse_first = params.lse_base + (batch * params.heads + head) * params.query_count;
    store_lse(lse_first, row, largest[0], total[0]);
    store_lse(lse_first, row + 4u, largest[1], total[1]);
    store_lse(lse_first, row + 8u, largest[2], total[2]);
    store_lse(lse_first, row + 12u, largest[3], total[3]);
  }
}
