// What each key gets from a chunk of the query rows: the sum, or the maximum, of its weights.
//
//   weight(r, j)        = queries[b,h,row(r)] . keys[b,h/(H/Hkv),j], scaled and biased, or exp(that - lse[b,h,r])
//   partials[s,b,h,j]   = sum (maximum) of weight(r, j) over the rows r of chunk s that see key j
//
// queries:       [B, H, M, D] elem
// keys:          [B, Hkv, N, D] elem
// lengths:       [B] u32; live keys
// query_lengths: [B] u32; live query rows
// bias:          [B, N] f32
// list:          [R] u32; rows asked for
// lse:           [B, heads, R] f32; read for softmax only
// partials:      [S, B, heads, columns] f32; 0 (the lowest float) where no row of the chunk sees the key
//
// Cost: 2 R N D operations a head. Key-stationary: a workgroup has 64 keys and walks over its chunk 64 rows at a time; its
// 8x8 lanes have 8x8 weights each, keep one sum (maximum) for each of their eight keys, and are combined at the end. The
// chunks are cut from the rows that are alive, so that the order of the sum does not depend on padding.
struct Params {
  queries_base: u32,
  keys_base: u32,
  lengths_base: u32,
  query_lengths_base: u32,
  bias_base: u32,
  list_base: u32,
  lse_base: u32,
  partials_base: u32,
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
@group(0) @binding(7) var<storage, read> lse: array<f32>;
@group(0) @binding(8) var<storage, read_write> partials: array<f32>;
// Key t of the tile: [t, lane row].
var<workgroup> column_parts: array<f32, 512>;

const LOWEST = -3.4028234e38;
const SOFTMAX = 2u;
const MAXIMUM = 3u;

// Four keys' totals after one more row, of which the masked weights do not count.
fn add_row(totals: vec4<f32>, products: vec4<f32>, offset: vec4<f32>, row_lse: f32, mask: vec4<bool>) -> vec4<f32> {
  var weights = products;
  if params.norm != 0u {
    weights = params.scale * products + offset;
  }
  if params.norm == SOFTMAX {
    weights = exp(weights - row_lse);
  }
  if params.row_reduction == MAXIMUM {
    return select(totals, max(totals, weights), mask);
  }
  return totals + select(vec4<f32>(), weights, mask);
}

@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  lane: Lane,
) {
  let id = linear_group(group, groups);
  if id >= params.groups { return; }
  let tiles = (params.columns + 63u) / 64u;
  let column_first = id % tiles * 64u;
  let chunk = id / tiles % params.parts_count;
  let head = id / tiles / params.parts_count % params.heads;
  let batch = id / tiles / params.parts_count / params.heads;

  let live_keys = min(lengths[params.lengths_base + batch], params.key_count);
  let live_queries = min(query_lengths[params.query_lengths_base + batch], params.query_count);
  let x = lane.index % 8u;
  let y = lane.index / 8u;

  // The rows are cut into at most `chunks` chunks, whole tiles long.
  let rows = select(params.rows, live_queries, params.every_row == 1u);
  let length = max(128u, ((rows + params.chunks - 1u) / params.chunks + 63u) / 64u * 64u);
  var first = chunk * length;
  let end = min(first + length, rows);
  let tile_key = params.column_first + column_first;
  if params.causal == 1u && params.every_row == 1u {
    // The tile's first key is seen from this row on. Tiles before it would add nothing.
    let sees = max(tile_key + live_queries, live_keys) - live_keys;
    first = max(first, sees / 64u * 64u);
  }
  let key = tile_key + x * 8u;
  let near = vec4<u32>(key, key + 1u, key + 2u, key + 3u);
  let far = near + 4u;
  let cols = Eight(key_bases(batch, head, near), key_bases(batch, head, far));
  let near_bias = key_bias(batch, key);
  let far_bias = key_bias(batch, key + 4u);
  let lse_first = params.lse_base + (batch * params.heads + head) * params.rows;
  let start = select(0.0, LOWEST, params.row_reduction == MAXIMUM);
  var near_totals = vec4<f32>(start);
  var far_totals = near_totals;
  if tile_key < live_keys {
    for (; first < end; first += 64u) {
      var bases: Eight;
      var visible: Eight;
      var near_lse = vec4<f32>();
      var far_lse = vec4<f32>();
      for (var i = 0u; i < 4u; i++) {
        let r = first + y * 8u + i;
        bases.near[i] = row_base(batch, head, r, live_queries);
        bases.far[i] = row_base(batch, head, r + 4u, live_queries);
        // A chunk ends where the rows end, or with a whole tile.
        visible.near[i] = visible_to(r, live_queries, live_keys);
        visible.far[i] = visible_to(r + 4u, live_queries, live_keys);
        if params.norm == SOFTMAX {
          near_lse[i] = lse[lse_first + min(r, params.rows - 1u)];
          far_lse[i] = lse[lse_first + min(r + 4u, params.rows - 1u)];
        }
      }
      let tile = dot_tile(bases, cols);
      near_totals = add_row(near_totals, tile.near0, near_bias, near_lse.x, near < vec4<u32>(visible.near.x));
      far_totals = add_row(far_totals, tile.far0, far_bias, near_lse.x, far < vec4<u32>(visible.near.x));
      near_totals = add_row(near_totals, tile.near1, near_bias, near_lse.y, near < vec4<u32>(visible.near.y));
      far_totals = add_row(far_totals, tile.far1, far_bias, near_lse.y, far < vec4<u32>(visible.near.y));
      near_totals = add_row(near_totals, tile.near2, near_bias, near_lse.z, near < vec4<u32>(visible.near.z));
      far_totals = add_row(far_totals, tile.far2, far_bias, near_lse.z, far < vec4<u32>(visible.near.z));
      near_totals = add_row(near_totals, tile.near3, near_bias, near_lse.w, near < vec4<u32>(visible.near.w));
      far_totals = add_row(far_totals, tile.far3, far_bias, near_lse.w, far < vec4<u32>(visible.near.w));
      near_totals = add_row(near_totals, tile.near4, near_bias, far_lse.x, near < vec4<u32>(visible.far.x));
      far_totals = add_row(far_totals, tile.far4, far_bias, far_lse.x, far < vec4<u32>(visible.far.x));
      near_totals = add_row(near_totals, tile.near5, near_bias, far_lse.y, near < vec4<u32>(visible.far.y));
      far_totals = add_row(far_totals, tile.far5, far_bias, far_lse.y, far < vec4<u32>(visible.far.y));
      near_totals = add_row(near_totals, tile.near6, near_bias, far_lse.z, near < vec4<u32>(visible.far.z));
      far_totals = add_row(far_totals, tile.far6, far_bias, far_lse.z, far < vec4<u32>(visible.far.z));
      near_totals = add_row(near_totals, tile.near7, near_bias, far_lse.w, near < vec4<u32>(visible.far.w));
      far_totals = add_row(far_totals, tile.far7, far_bias, far_lse.w, far < vec4<u32>(visible.far.w));
    }
  }

  let slot = x * 64u + y;
  column_parts[slot + 0u] = near_totals.x;
  column_parts[slot + 8u] = near_totals.y;
  column_parts[slot + 16u] = near_totals.z;
  column_parts[slot + 24u] = near_totals.w;
  column_parts[slot + 32u] = far_totals.x;
  column_parts[slot + 40u] = far_totals.y;
  column_parts[slot + 48u] = far_totals.z;
  column_parts[slot + 56u] = far_totals.w;
  workgroupBarrier();
  let column = column_first + lane.index;
  if column < params.columns {
    var total = start;
    for (var i = 0u; i < 8u; i++) {
      let part = column_parts[lane.index * 8u + i];
      total = select(total + part, max(total, part), params.row_reduction == MAXIMUM);
    }
    partials[params.partials_base + ((chunk * params.batch + batch) * params.heads + head) * params.columns + column] = total;
  }
}
