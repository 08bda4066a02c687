// The largest of the scaled and biased logits of a few query rows, and the sum of its exponentials, over the keys that each row sees.
//
//   s[b,h,r,j]    = scale * logits[b,h,r,j] + bias[b,j]
//   sums[0,b,h,r] = max_j s[b,h,r,j],     sums[1,b,h,r] = sum_j exp(s[b,h,r,j] - sums[0,b,h,r])
//
// logits:        [B, heads, R, N] f32; unscaled
// lengths:       [B] u32; live keys
// query_lengths: [B] u32; live query rows
// bias:          [B, N] f32
// list:          [R] u32; rows asked for
// sums:          [2, B, heads, R] f32; the sum is 0 where a row is dead or sees nothing, NaN where a logit that it sees is
//
// Some of what it reads and what it writes lies in the workspace, one buffer: nothing can be read-only.
//
// Cost: two reads of each visible logit. One workgroup a row: for rows that are too long for one workgroup to make their logits.
struct Params {
  logits_base: u32,
  lengths_base: u32,
  query_lengths_base: u32,
  bias_base: u32,
  list_base: u32,
  sums_base: u32,
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
  with_sums: u32,
  lse_rows: u32,
  scale: f32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> logits: array<f32>;
@group(0) @binding(2) var<storage, read_write> lengths: array<u32>;
@group(0) @binding(3) var<storage, read_write> query_lengths: array<u32>;
@group(0) @binding(4) var<storage, read_write> bias: array<f32>;
@group(0) @binding(5) var<storage, read_write> list: array<u32>;
@group(0) @binding(6) var<storage, read_write> sums: array<f32>;

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  lane: Lane,
) {
  let id = linear_group(group, groups);
  if id >= params.groups { return; }
  let r = id % params.rows;
  let batch = id / params.rows / params.heads;
  let live_keys = min(lengths[params.lengths_base + batch], params.key_count);
  let live_queries = min(query_lengths[params.query_lengths_base + batch], params.query_count);
  let visible = visible_keys(query_row(r, live_queries), live_queries, live_keys);
  let of_row = stored_sums(lane, batch, params.logits_base + id * params.key_count, visible);
  if lane.index == 0u {
    sums[params.sums_base + id] = of_row.x;
    sums[params.sums_base + params.groups + id] = of_row.y;
  }
}
