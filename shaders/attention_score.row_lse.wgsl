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
// Cost: 2 R N D operations a head. Query-stationary: a workgroup has 64 rows and walks over the keys 64 at a time; its
// 8x8 lanes have 8x8 logits each, keep a running maximum and sum for their eight rows, and are combined at the end.
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
var<workgroup> maxima: array<f32, 512>;
var<workgroup> sums: array<f32, 512>;

const LAST = 0xffffffffu; // in `list`: the last live row
const LOWEST = -3.4028234e38;

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

// The same of the r-th row asked for, which may be beyond the last.
fn row_base(batch: u32, head: u32, r: u32, live_queries: u32) -> u32 {
  if r >= params.rows { return query_base(batch, head, 0u); }
  return query_base(batch, head, query_row(r, live_queries));
}

// How many keys the r-th row asked for sees.
fn visible_to(r: u32, live_queries: u32, live_keys: u32) -> u32 {
  if r >= params.rows { return 0u; }
  return visible_keys(query_row(r, live_queries), live_queries, live_keys);
}

fn key_bases(batch: u32, head: u32, key: vec4<u32>) -> vec4<u32> {
  return vec4<u32>(
    key_base(batch, head, key.x),
    key_base(batch, head, key.y),
    key_base(batch, head, key.z),
    key_base(batch, head, key.w),
  );
}

// One number for each of the tile's eight rows or keys.
struct Eight {
  near: vec4<u32>,
  far: vec4<u32>,
}

// Dot products of eight query rows with eight keys: an 8x8 tile in registers, named, since arrays of accumulators would
// not stay in registers everywhere. Row i is `near_i` for the first four keys and `far_i` for the others.
struct Tile {
  near0: vec4<f32>,
  far0: vec4<f32>,
  near1: vec4<f32>,
  far1: vec4<f32>,
  near2: vec4<f32>,
  far2: vec4<f32>,
  near3: vec4<f32>,
  far3: vec4<f32>,
  near4: vec4<f32>,
  far4: vec4<f32>,
  near5: vec4<f32>,
  far5: vec4<f32>,
  near6: vec4<f32>,
  far6: vec4<f32>,
  near7: vec4<f32>,
  far7: vec4<f32>,
}

// What one step along the dot product adds to half a row of a tile: a with each of four.
fn products(a: elem_f32, b0: elem_f32, b1: elem_f32, b2: elem_f32, b3: elem_f32) -> vec4<f32> {
  return vec4<f32>(elem_dot(a, b0), elem_dot(a, b1), elem_dot(a, b2), elem_dot(a, b3));
}

fn dot_tile(rows: Eight, cols: Eight) -> Tile {
  var near0 = vec4<f32>();
  var far0 = vec4<f32>();
  var near1 = vec4<f32>();
  var far1 = vec4<f32>();
  var near2 = vec4<f32>();
  var far2 = vec4<f32>();
  var near3 = vec4<f32>();
  var far3 = vec4<f32>();
  var near4 = vec4<f32>();
  var far4 = vec4<f32>();
  var near5 = vec4<f32>();
  var far5 = vec4<f32>();
  var near6 = vec4<f32>();
  var far6 = vec4<f32>();
  var near7 = vec4<f32>();
  var far7 = vec4<f32>();
  for (var c = 0u; c < params.channels; c++) {
    let k0 = elem_f32(keys[cols.near.x + c]);
    let k1 = elem_f32(keys[cols.near.y + c]);
    let k2 = elem_f32(keys[cols.near.z + c]);
    let k3 = elem_f32(keys[cols.near.w + c]);
    let k4 = elem_f32(keys[cols.far.x + c]);
    let k5 = elem_f32(keys[cols.far.y + c]);
    let k6 = elem_f32(keys[cols.far.z + c]);
    let k7 = elem_f32(keys[cols.far.w + c]);
    let q0 = elem_f32(queries[rows.near.x + c]);
    near0 += products(q0, k0, k1, k2, k3);
    far0 += products(q0, k4, k5, k6, k7);
    let q1 = elem_f32(queries[rows.near.y + c]);
    near1 += products(q1, k0, k1, k2, k3);
    far1 += products(q1, k4, k5, k6, k7);
    let q2 = elem_f32(queries[rows.near.z + c]);
    near2 += products(q2, k0, k1, k2, k3);
    far2 += products(q2, k4, k5, k6, k7);
    let q3 = elem_f32(queries[rows.near.w + c]);
    near3 += products(q3, k0, k1, k2, k3);
    far3 += products(q3, k4, k5, k6, k7);
    let q4 = elem_f32(queries[rows.far.x + c]);
    near4 += products(q4, k0, k1, k2, k3);
    far4 += products(q4, k4, k5, k6, k7);
    let q5 = elem_f32(queries[rows.far.y + c]);
    near5 += products(q5, k0, k1, k2, k3);
    far5 += products(q5, k4, k5, k6, k7);
    let q6 = elem_f32(queries[rows.far.z + c]);
    near6 += products(q6, k0, k1, k2, k3);
    far6 += products(q6, k4, k5, k6, k7);
    let q7 = elem_f32(queries[rows.far.w + c]);
    near7 += products(q7, k0, k1, k2, k3);
    far7 += products(q7, k4, k5, k6, k7);
  }
  return Tile(near0, far0, near1, far1, near2, far2, near3, far3, near4, far4, near5, far5, near6, far6, near7, far7);
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

// The running values after eight more logits, of which the masked ones do not count.
fn add_logits(running: Running, near: vec4<f32>, far: vec4<f32>, near_mask: vec4<bool>, far_mask: vec4<bool>) -> Running {
  let lowest = vec4<f32>(LOWEST);
  let four = max(select(lowest, near, near_mask), select(lowest, far, far_mask));
  let tile = max(max(four.x, four.y), max(four.z, four.w));
  var next = running;
  if tile > next.largest {
    // The factor is rounded, so it is applied only where the maximum grew.
    next.sum *= exp(next.largest - tile);
    next.largest = tile;
  }
  let terms = select(vec4<f32>(), exp(near - next.largest), near_mask) + select(vec4<f32>(), exp(far - next.largest), far_mask);
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
  let tiles = (params.rows + 63u) / 64u;
  let head = id / tiles % params.heads;
  let batch = id / tiles / params.heads;
  let tile_first = id % tiles * 64u;
  let live_keys = min(lengths[params.lengths_base + batch], params.key_count);
  let live_queries = min(query_lengths[params.query_lengths_base + batch], params.query_count);
  let x = lane.index % 8u;
  let y = lane.index / 8u;

  var bases: Eight;
  var visible: Eight;
  for (var i = 0u; i < 4u; i++) {
    let near = tile_first + y * 8u + i;
    bases.near[i] = row_base(batch, head, near, live_queries);
    visible.near[i] = visible_to(near, live_queries, live_keys);
    bases.far[i] = row_base(batch, head, near + 4u, live_queries);
    visible.far[i] = visible_to(near + 4u, live_queries, live_keys);
  }
  var run0 = Running(LOWEST, 0.0);
  var run1 = Running(LOWEST, 0.0);
  var run2 = Running(LOWEST, 0.0);
  var run3 = Running(LOWEST, 0.0);
  var run4 = Running(LOWEST, 0.0);
  var run5 = Running(LOWEST, 0.0);
  var run6 = Running(LOWEST, 0.0);
  var run7 = Running(LOWEST, 0.0);
  let most = max(visible.near, visible.far);
  let reach = max(max(most.x, most.y), max(most.z, most.w));
  for (var first = 0u; first < reach; first += 64u) {
    let key = first + x * 8u;
    let near = vec4<u32>(key, key + 1u, key + 2u, key + 3u);
    let far = near + 4u;
    let tile = dot_tile(bases, Eight(key_bases(batch, head, near), key_bases(batch, head, far)));
    let near_bias = key_bias(batch, key);
    let far_bias = key_bias(batch, key + 4u);
    var see = vec4<u32>(visible.near.x);
    run0 = add_logits(run0, params.scale * tile.near0 + near_bias, params.scale * tile.far0 + far_bias, near < see, far < see);
    see = vec4<u32>(visible.near.y);
    run1 = add_logits(run1, params.scale * tile.near1 + near_bias, params.scale * tile.far1 + far_bias, near < see, far < see);
    see = vec4<u32>(visible.near.z);
    run2 = add_logits(run2, params.scale * tile.near2 + near_bias, params.scale * tile.far2 + far_bias, near < see, far < see);
    see = vec4<u32>(visible.near.w);
    run3 = add_logits(run3, params.scale * tile.near3 + near_bias, params.scale * tile.far3 + far_bias, near < see, far < see);
    see = vec4<u32>(visible.far.x);
    run4 = add_logits(run4, params.scale * tile.near4 + near_bias, params.scale * tile.far4 + far_bias, near < see, far < see);
    see = vec4<u32>(visible.far.y);
    run5 = add_logits(run5, params.scale * tile.near5 + near_bias, params.scale * tile.far5 + far_bias, near < see, far < see);
    see = vec4<u32>(visible.far.z);
    run6 = add_logits(run6, params.scale * tile.near6 + near_bias, params.scale * tile.far6 + far_bias, near < see, far < see);
    see = vec4<u32>(visible.far.w);
    run7 = add_logits(run7, params.scale * tile.near7 + near_bias, params.scale * tile.far7 + far_bias, near < see, far < see);
  }

  let slot = y * 64u + x;
  maxima[slot + 0u] = run0.largest;
  maxima[slot + 8u] = run1.largest;
  maxima[slot + 16u] = run2.largest;
  maxima[slot + 24u] = run3.largest;
  maxima[slot + 32u] = run4.largest;
  maxima[slot + 40u] = run5.largest;
  maxima[slot + 48u] = run6.largest;
  maxima[slot + 56u] = run7.largest;
  sums[slot + 0u] = run0.sum;
  sums[slot + 8u] = run1.sum;
  sums[slot + 16u] = run2.sum;
  sums[slot + 24u] = run3.sum;
  sums[slot + 32u] = run4.sum;
  sums[slot + 40u] = run5.sum;
  sums[slot + 48u] = run6.sum;
  sums[slot + 56u] = run7.sum;
  workgroupBarrier();
  let r = tile_first + lane.index;
  if r < params.rows {
    var largest = LOWEST;
    for (var i = 0u; i < 8u; i++) {
      largest = max(largest, maxima[lane.index * 8u + i]);
    }
    var sum = 0.0;
    for (var i = 0u; i < 8u; i++) {
      sum += sums[lane.index * 8u + i] * exp(maxima[lane.index * 8u + i] - largest);
    }
    let sees = visible_to(r, live_queries, live_keys) > 0u;
    lse[params.lse_base + (batch * params.heads + head) * params.rows + r] = select(0.0, largest + log(sum), sees);
  }
}
