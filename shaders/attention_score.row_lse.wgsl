// Log-sum-exp of many query rows' scaled and biased logits, over the keys that each row sees.
//
//   lse[b,h,r] = ln sum_j exp(scale * queries[b,h,row(r)] . keys[b,h/(H/Hkv),j] + bias[b,j])
//
// queries:       [B, H, M, D] elem
// keys:          [B, Hkv, N, D] elem
// lengths:       [B] u32; live keys
// query_lengths: [B] u32; live query rows
// bias:          [B, N] f32
// list:          [R] u32; rows asked for
// lse:           [B, heads, R] f32; 0 where a row is dead or sees nothing
//
// Cost: 2 R N D operations a head. Query-stationary: a workgroup has 32 rows and walks over the keys 32 at a time; its
// 8x8 lanes have 4x4 logits each, keep a running maximum and sum for their four rows, and are combined at the end.
// Nothing of size R x N is stored, and no barrier is in the loop. Tiles start at key 0 whatever the padding.
struct Params {
  queries_base: u32,
  keys_base: u32,
  lengths_base: u32,
  query_lengths_base: u32,
  bias_base: u32,
  list_base: u32,
  lse_base: u32,
  groups: u32,
  batch: u32,
  heads: u32,
  head_first: u32,
  all_heads: u32,
  key_heads: u32,
  query_count: u32,
  key_count: u32,
  channels: u32,
  rows: u32,
  every_row: u32,
  causal: u32,
  biased: u32,
  norm: u32,
  row_reduction: u32,
  head_reduction: u32,
  pick_first: u32,
  pick_count: u32,
  column_first: u32,
  columns: u32,
  parts_count: u32,
  stored: u32,
  chunks: u32,
  scale: f32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> queries: array<elem>;
@group(0) @binding(2) var<storage, read> keys: array<elem>;
@group(0) @binding(3) var<storage, read> lengths: array<u32>;
@group(0) @binding(4) var<storage, read> query_lengths: array<u32>;
@group(0) @binding(5) var<storage, read> bias: array<f32>;
@group(0) @binding(6) var<storage, read> list: array<u32>;
@group(0) @binding(7) var<storage, read_write> lse: array<f32>;
// Row t of the tile: [t, lane column].
var<workgroup> maxima: array<f32, 256>;
var<workgroup> sums: array<f32, 256>;

const LAST = 0xffffffffu; // in `list`: the last live row
const LOWEST = -3.40282347e38;

// Query row of the r-th row asked for; at least `live` where there is none.
fn query_row(r: u32, live: u32) -> u32 {
  if params.every_row == 1u { return r; }
  let row = list[params.list_base + r];
  return select(row, live - 1u, row == LAST); // live 0 gives LAST again, which is at least live
}

// How many keys this query row sees, from the first on: none if it is dead.
fn visible_keys(row: u32, live_queries: u32, live_keys: u32) -> u32 {
  if row >= live_queries { return 0u; }
  if params.causal == 0u { return live_keys; }
  // Key j is visible iff j <= row + live_keys - live_queries.
  let reach = row + 1u + live_keys;
  return reach - min(reach, live_queries);
}

// Where a query row's channels begin. Rows beyond the last read the last: what comes of them is masked.
fn query_base(batch: u32, head: u32, row: u32) -> u32 {
  let row_of_head = (batch * params.all_heads + params.head_first + head) * params.query_count;
  return params.queries_base + (row_of_head + min(row, params.query_count - 1u)) * params.channels;
}

// Where a key's channels begin. Keys beyond the last read the last: what comes of them is masked.
fn key_base(batch: u32, head: u32, key: u32) -> u32 {
  let key_head = (params.head_first + head) / (params.all_heads / params.key_heads);
  let row_of_head = (batch * params.key_heads + key_head) * params.key_count;
  return params.keys_base + (row_of_head + min(key, params.key_count - 1u)) * params.channels;
}

// Dot products of four query rows with four keys: a 4x4 tile in registers, one vector a row.
struct Tile {
  row0: vec4<f32>,
  row1: vec4<f32>,
  row2: vec4<f32>,
  row3: vec4<f32>,
}

// What one step along the dot product adds to one row of a tile: a with each of four.
fn products(a: elem_f32, b0: elem_f32, b1: elem_f32, b2: elem_f32, b3: elem_f32) -> vec4<f32> {
  return vec4<f32>(elem_dot(a, b0), elem_dot(a, b1), elem_dot(a, b2), elem_dot(a, b3));
}

fn dot_tile(rows: vec4<u32>, cols: vec4<u32>) -> Tile {
  var row0 = vec4<f32>();
  var row1 = vec4<f32>();
  var row2 = vec4<f32>();
  var row3 = vec4<f32>();
  for (var c = 0u; c < params.channels; c++) {
    let k0 = elem_f32(keys[cols.x + c]);
    let k1 = elem_f32(keys[cols.y + c]);
    let k2 = elem_f32(keys[cols.z + c]);
    let k3 = elem_f32(keys[cols.w + c]);
    row0 += products(elem_f32(queries[rows.x + c]), k0, k1, k2, k3);
    row1 += products(elem_f32(queries[rows.y + c]), k0, k1, k2, k3);
    row2 += products(elem_f32(queries[rows.z + c]), k0, k1, k2, k3);
    row3 += products(elem_f32(queries[rows.w + c]), k0, k1, k2, k3);
  }
  return Tile(row0, row1, row2, row3);
}

// Bias of four keys from this one on.
fn key_bias(batch: u32, key: u32) -> vec4<f32> {
  if params.biased == 0u { return vec4<f32>(); }
  let first = params.bias_base + batch * params.key_count;
  let last = params.key_count - 1u;
  return vec4<f32>(
    bias[first + min(key, last)],
    bias[first + min(key + 1u, last)],
    bias[first + min(key + 2u, last)],
    bias[first + min(key + 3u, last)],
  );
}

// Largest logit so far, and the sum of exp(logit - largest).
struct Running {
  largest: f32,
  sum: f32,
}

// The running values after four more logits, of which the masked ones do not count.
fn add_logits(running: Running, logits: vec4<f32>, mask: vec4<bool>) -> Running {
  let candidates = select(vec4<f32>(LOWEST), logits, mask);
  let tile = max(max(candidates.x, candidates.y), max(candidates.z, candidates.w));
  var next = running;
  if tile > next.largest {
    // The factor is rounded, so it is applied only where the maximum grew.
    next.sum *= exp(next.largest - tile);
    next.largest = tile;
  }
  let terms = select(vec4<f32>(), exp(logits - next.largest), mask);
  next.sum += (terms.x + terms.y) + (terms.z + terms.w);
  return next;
}

@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  lane: Lane,
) {
  let id = linear_group(group, groups);
  if id >= params.groups { return; }
  let tiles = (params.rows + 31u) / 32u;
  let head = id / tiles % params.heads;
  let batch = id / tiles / params.heads;
  let tile_first = id % tiles * 32u;
  let live_keys = min(lengths[params.lengths_base + batch], params.key_count);
  let live_queries = min(query_lengths[params.query_lengths_base + batch], params.query_count);
  let x = lane.index % 8u;
  let y = lane.index / 8u;

  var bases = vec4<u32>();
  var visible = vec4<u32>();
  for (var i = 0u; i < 4u; i++) {
    let r = tile_first + y * 4u + i;
    if r < params.rows {
      let row = query_row(r, live_queries);
      bases[i] = query_base(batch, head, row);
      visible[i] = visible_keys(row, live_queries, live_keys);
    } else {
      bases[i] = query_base(batch, head, 0u);
    }
  }
  var run0 = Running(LOWEST, 0.0);
  var run1 = run0;
  var run2 = run0;
  var run3 = run0;
  let reach = max(max(visible.x, visible.y), max(visible.z, visible.w));
  for (var first = 0u; first < reach; first += 32u) {
    let key = first + x * 4u;
    let cols = vec4<u32>(
      key_base(batch, head, key),
      key_base(batch, head, key + 1u),
      key_base(batch, head, key + 2u),
      key_base(batch, head, key + 3u),
    );
    let tile = dot_tile(bases, cols);
    let offset = key_bias(batch, key);
    let at = vec4<u32>(key, key + 1u, key + 2u, key + 3u);
    run0 = add_logits(run0, params.scale * tile.row0 + offset, at < vec4<u32>(visible.x));
    run1 = add_logits(run1, params.scale * tile.row1 + offset, at < vec4<u32>(visible.y));
    run2 = add_logits(run2, params.scale * tile.row2 + offset, at < vec4<u32>(visible.z));
    run3 = add_logits(run3, params.scale * tile.row3 + offset, at < vec4<u32>(visible.w));
  }

  let slot = y * 32u + x;
  maxima[slot] = run0.largest;
  maxima[slot + 8u] = run1.largest;
  maxima[slot + 16u] = run2.largest;
  maxima[slot + 24u] = run3.largest;
  sums[slot] = run0.sum;
  sums[slot + 8u] = run1.sum;
  sums[slot + 16u] = run2.sum;
  sums[slot + 24u] = run3.sum;
  workgroupBarrier();
  let r = tile_first + lane.index;
  if lane.index < 32u && r < params.rows {
    var largest = LOWEST;
    for (var i = 0u; i < 8u; i++) {
      largest = max(largest, maxima[lane.index * 8u + i]);
    }
    var sum = 0.0;
    for (var i = 0u; i < 8u; i++) {
      sum += sums[lane.index * 8u + i] * exp(maxima[lane.index * 8u + i] - largest);
    }
    let sees = visible_keys(query_row(r, live_queries), live_queries, live_keys) > 0u;
    lse[params.lse_base + (batch * params.heads + head) * params.rows + r] = select(0.0, largest + log(sum), sees);
  }
}
