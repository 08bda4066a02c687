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
// Cost: 2 R N D operations a head. Key-stationary: a workgroup has 64 keys and walks over its chunk 64 rows at a time; an
// invocation keeps one sum (maximum) for each of its keys, and those of a key are combined at the end. The chunks are cut from
// the rows that are alive, so that the order of the sum does not depend on padding.
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
  block: u32,
  with_lse: u32,
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
// Key t of the tile: [t, sixteen rows].
var<workgroup> column_parts: array<f32, 256>;

const LOWEST = -3.4028234e38;
const SOFTMAX = 2u;
const MAXIMUM = 3u;

// How many keys the r-th row sees, and the bits of its log-sum-exp.
fn row_fact(place: Place, r: u32) -> vec2<u32> {
  var of_row = 0.0;
  if params.norm == SOFTMAX {
    of_row = lse[params.lse_base + (place.batch * params.heads + place.head) * params.rows + min(r, params.rows - 1u)];
  }
  return vec2<u32>(visible_to(place, r), bitcast<u32>(of_row));
}

// Four keys' totals after a row, of which the masked weights do not count. Without branches: it is inlined sixteen times.
fn add_row(totals: vec4<f32>, products: vec4<f32>, offset: vec4<f32>, fact: vec2<u32>, key: vec4<u32>) -> vec4<f32> {
  let logits = select(params.scale * products + offset, products, params.norm == 0u);
  let weights = select(logits, exp(logits - bitcast<f32>(fact.y)), params.norm == SOFTMAX);
  let reduced = select(totals + weights, max(totals, weights), params.row_reduction == MAXIMUM);
  return select(totals, reduced, key < vec4<u32>(fact.x));
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

  let tile_key = params.column_first + column_first;
  let place = place_of(lane, batch, head);

  // The rows are cut into at most `chunks` chunks, whole tiles long.
  let rows = select(params.rows, place.live_queries, params.every_row == 1u);
  let length = max(128u, ((rows + params.chunks - 1u) / params.chunks + 63u) / 64u * 64u);
  var first = chunk * length;
  // A tile of keys that are all dead has no rows.
  let end = select(0u, min(first + length, rows), tile_key < place.live_keys);
  if params.causal == 1u && params.every_row == 1u {
    // The tile's first key is seen from this row on. Tiles before it would add nothing.
    let sees = max(tile_key + place.live_queries, place.live_keys) - place.live_keys;
    first = max(first, sees / 64u * 64u);
  }
  let column = tile_key + tile_column(lane);
  let key = vec4<u32>(column, column + 1u, column + 2u, column + 3u);
  let offset = key_bias(batch, column);
  let start = select(0.0, LOWEST, params.row_reduction == MAXIMUM);
  var totals = vec4<f32>(start);
  for (; first < end; first += 64u) {
    let r = first + tile_row(lane);
    let tile = dot_tile(lane, place, r, column, params.channels);
    let facts = row_facts(lane, place, r);
    totals = add_row(totals, tile.r0, offset, fact_of(facts, 0u), key);
    totals = add_row(totals, tile.r1, offset, fact_of(facts, 1u), key);
    totals = add_row(totals, tile.r2, offset, fact_of(facts, 2u), key);
    totals = add_row(totals, tile.r3, offset, fact_of(facts, 3u), key);
    totals = add_row(totals, tile.r4, offset, fact_of(facts, 4u), key);
    totals = add_row(totals, tile.r5, offset, fact_of(facts, 5u), key);
    totals = add_row(totals, tile.r6, offset, fact_of(facts, 6u), key);
    totals = add_row(totals, tile.r7, offset, fact_of(facts, 7u), key);
    totals = add_row(totals, tile.r8, offset, fact_of(facts, 8u), key);
    totals = add_row(totals, tile.r9, offset, fact_of(facts, 9u), key);
    totals = add_row(totals, tile.r10, offset, fact_of(facts, 10u), key);
    totals = add_row(totals, tile.r11, offset, fact_of(facts, 11u), key);
    totals = add_row(totals, tile.r12, offset, fact_of(facts, 12u), key);
    totals = add_row(totals, tile.r13, offset, fact_of(facts, 13u), key);
    totals = add_row(totals, tile.r14, offset, fact_of(facts, 14u), key);
    totals = add_row(totals, tile.r15, offset, fact_of(facts, 15u), key);
  }

  let slot = tile_column(lane) * 4u + tile_row(lane) / 16u;
  column_parts[slot + 0u] = totals.x;
  column_parts[slot + 4u] = totals.y;
  column_parts[slot + 8u] = totals.z;
  column_parts[slot + 12u] = totals.w;
  workgroupBarrier();
  let index = column_first + lane.index;
  if index < params.columns {
    var total = start;
    for (var i = 0u; i < 4u; i++) {
      let part = column_parts[lane.index * 4u + i];
      total = select(total + part, max(total, part), params.row_reduction == MAXIMUM);
    }
    partials[params.partials_base + ((chunk * params.batch + batch) * params.heads + head) * params.columns + index] = total;
  }
}
