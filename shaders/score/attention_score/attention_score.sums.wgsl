// The largest scaled and biased logit of each of a few query rows, and the sum of the row's exponentials, over the keys that the row sees.
//
//   s[b,h,r,j]    = scale * logits[b,h,r,j] + bias[b,j]
//   sums[0,b,h,r] = max_j s[b,h,r,j],     sums[1,b,h,r] = sum_j exp(s[b,h,r,j] - sums[0,b,h,r])
//
// logits:        [B, heads, R, N] f32; unscaled
// lengths:       [B] u32; live keys
// query_lengths: [B] u32; live query rows
// bias:          [B, N] f32
// list:          [R] u32; the rows asked for
// sums:          [2, B, heads, R] f32; the sum is 0 if a row is dead or sees nothing, NaN if a logit that it sees is NaN
//
// The workspace is one buffer that holds some inputs and some outputs, so no binding can be read-only.
//
// Cost: two reads of each visible logit. One workgroup per row. This serves rows whose logits are too many for one workgroup to make.

@compute @workgroup_size(GROUP)
fn main(grid: Grid, lane: Lane) {
  let id = linear_group(grid);
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
