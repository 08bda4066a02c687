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
// Cost: 2 R N D operations a head. Key-stationary: a workgroup has 32 keys and walks over its chunk 32 rows at a time; its
// 8x8 lanes have 4x4 weights each, keep one sum (maximum) for each of their four keys, and are combined at the end. The
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
var<workgroup> column_parts: array<f32, 256>;

const LAST = 0xffffffffu; // in `list`: the last live row
const LOWEST = -3.40282347e38;
const SOFTMAX = 2u;
const MAXIMUM = 3u;

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
  let tiles = (params.columns + 31u) / 32u;
  let column_first = id % tiles * 32u;
  let chunk = id / tiles % params.parts_count;
  let head = id / tiles / params.parts_count % params.heads;
  let batch = id / tiles / params.parts_count / params.heads;

  let live_keys = min(lengths[params.lengths_base + batch], params.key_count);
  let live_queries = min(query_lengths[params.query_lengths_base + batch], params.query_count);
  let x = lane.index % 8u;
  let y = lane.index / 8u;

  // The rows are cut into at most `chunks` chunks, whole tiles long.
  let rows = select(params.rows, live_queries, params.every_row == 1u);
  let length = max(128u, ((rows + params.chunks - 1u) / params.chunks + 31u) / 32u * 32u);
  var first = chunk * length;
  let end = min(first + length, rows);
  let tile_key = params.column_first + column_first;
  if params.causal == 1u && params.every_row == 1u {
    // The tile's first key is seen from this row on. Tiles before it would add nothing.
    let sees = max(tile_key + live_queries, live_keys) - live_keys;
    first = max(first, sees / 32u * 32u);
  }
  let key = tile_key + x * 4u;
  let cols = vec4<u32>(
    key_base(batch, head, key),
    key_base(batch, head, key + 1u),
    key_base(batch, head, key + 2u),
    key_base(batch, head, key + 3u),
  );
  let offset = key_bias(batch, key);
  let at = vec4<u32>(key, key + 1u, key + 2u, key + 3u);
  let lse_first = params.lse_base + (batch * params.heads + head) * params.rows;
  let start = select(0.0, LOWEST, params.row_reduction == MAXIMUM);
  var totals = vec4<f32>(start);
  if tile_key < live_keys {
    for (; first < end; first += 32u) {
      var bases = vec4<u32>();
      var visible = vec4<u32>();
      var row_lse = vec4<f32>();
      for (var i = 0u; i < 4u; i++) {
        let r = first + y * 4u + i;
        if r < end {
          let row = query_row(r, live_queries);
          bases[i] = query_base(batch, head, row);
          visible[i] = visible_keys(row, live_queries, live_keys);
          if params.norm == SOFTMAX { row_lse[i] = lse[lse_first + r]; }
        } else {
          bases[i] = query_base(batch, head, 0u);
        }
      }
      let tile = dot_tile(bases, cols);
      totals = add_row(totals, tile.row0, offset, row_lse.x, at < vec4<u32>(visible.x));
      totals = add_row(totals, tile.row1, offset, row_lse.y, at < vec4<u32>(visible.y));
      totals = add_row(totals, tile.row2, offset, row_lse.z, at < vec4<u32>(visible.z));
      totals = add_row(totals, tile.row3, offset, row_lse.w, at < vec4<u32>(visible.w));
    }
  }

  let slot = x * 32u + y;
  column_parts[slot] = totals.x;
  column_parts[slot + 8u] = totals.y;
  column_parts[slot + 16u] = totals.z;
  column_parts[slot + 24u] = totals.w;
  workgroupBarrier();
  let column = column_first + lane.index;
  if lane.index < 32u && column < params.columns {
    var total = start;
    for (var i = 0u; i < 8u; i++) {
      let part = column_parts[lane.index * 8u + i];
      total = select(total + part, max(total, part), params.row_reduction == MAXIMUM);
    }
    partials[params.partials_base + ((chunk * params.batch + batch) * params.heads + head) * params.columns + column] = total;
  }
}
