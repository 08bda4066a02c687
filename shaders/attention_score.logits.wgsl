// Dot products of a few query rows with every live key, unscaled.
//
//   logits[b,h,r,j] = sum_c queries[b, h, row(r), c] * keys[b, h / (H / Hkv), j, c]
//
// queries:       [B, H, M, D] elem
// keys:          [B, Hkv, N, D] elem
// lengths:       [B] u32; live keys
// query_lengths: [B] u32; live query rows
// list:          [R] u32; rows asked for
// logits:        [B, heads, R, N] f32; those of dead rows and keys stay undefined
//
// Cost: one pass. An invocation makes one row's products with four keys, 64 apart so that stores coalesce.
struct Params {
  queries_base: u32,
  keys_base: u32,
  lengths_base: u32,
  query_lengths_base: u32,
  list_base: u32,
  logits_base: u32,
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
@group(0) @binding(5) var<storage, read> list: array<u32>;
@group(0) @binding(6) var<storage, read_write> logits: array<f32>;

// What one step along the dot product adds to one row of a tile: a with each of four.
fn products(a: elem_f32, b0: elem_f32, b1: elem_f32, b2: elem_f32, b3: elem_f32) -> vec4<f32> {
  return vec4<f32>(elem_dot(a, b0), elem_dot(a, b1), elem_dot(a, b2), elem_dot(a, b3));
}

@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  lane: Lane,
) {
  let id = linear_group(group, groups);
  if id >= params.groups { return; }
  let blocks = (params.key_count + 255u) / 256u;
  let r = id / blocks % params.rows;
  let head = id / blocks / params.rows % params.heads;
  let batch = id / blocks / params.rows / params.heads;
  let live_keys = min(lengths[params.lengths_base + batch], params.key_count);
  let live_queries = min(query_lengths[params.query_lengths_base + batch], params.query_count);
  let row = query_row(r, live_queries);
  let key = id % blocks * 256u + lane.index;
  if row >= live_queries || key >= live_keys { return; } // no barrier follows

  let q = query_base(batch, head, row);
  let k0 = key_base(batch, head, key);
  let k1 = key_base(batch, head, key + 64u);
  let k2 = key_base(batch, head, key + 128u);
  let k3 = key_base(batch, head, key + 192u);
  var sums = vec4<f32>();
  for (var c = 0u; c < params.channels; c++) {
    sums += products(elem_f32(queries[q + c]), elem_f32(keys[k0 + c]), elem_f32(keys[k1 + c]), elem_f32(keys[k2 + c]), elem_f32(keys[k3 + c]));
  }
  let out = params.logits_base + ((batch * params.heads + head) * params.rows + r) * params.key_count + key;
  logits[out] = sums.x;
  if key + 64u < live_keys { logits[out + 64u] = sums.y; }
  if key + 128u < live_keys { logits[out + 128u] = sums.z; }
  if key + 192u < live_keys { logits[out + 192u] = sums.w; }
}
