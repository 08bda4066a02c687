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

const LOWEST = -3.4028234e38;

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
