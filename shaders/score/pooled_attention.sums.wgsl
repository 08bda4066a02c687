// First pass: the largest scaled logit of each query row, and the sum of the row's exponentials.
//
//   s[b,h,i,j]    = scale * queries[b,h,i] . keys[b,h/(H/Hkv),j]
//   sums[0,b,h,i] = max_j s[b,h,i,j],     sums[1,b,h,i] = sum_j exp(s[b,h,i,j] - sums[0,b,h,i])
//
// queries: [B, H, M, D] elem
// keys:    [B, Hkv, M, D] elem
// lengths: [B] u32; live frames
// sums:    [2, B, H, M] f32; not written for dead rows; the sum is NaN if a logit is NaN
//
// One workgroup per row. An invocation keeps a running maximum and sum of every 128th key. The first invocation combines them in order.
//
// Cost: 2 H M^2 D operations. Every row reads all keys, from cache.

const LANES = 128u;
var<workgroup> maxima: array<f32, LANES>;
var<workgroup> totals: array<f32, LANES>;

@compute @workgroup_size(128)
fn main(grid: Grid, lane: Lane) {
  let row = linear_group(grid);
  if row >= params.groups { return; }
  let head = row / params.frames;
  let batch = head / params.heads;
  let live = min(lengths[params.lengths_base + batch], params.frames);
  let key_head = batch * params.key_heads + head % params.heads / (params.heads / params.key_heads);

  var largest = LOWEST;
  var sum = 0.0;
  let end = select(0u, live, row % params.frames < live);
  for (var j = lane.index; j < end; j += LANES) {
    var logit = 0.0;
    for (var c = 0u; c < params.channels; c++) {
      let q = elem_f32(queries[params.queries_base + row * params.channels + c]);
      logit += elem_dot(q, elem_f32(keys[params.keys_base + (key_head * params.frames + j) * params.channels + c]));
    }
    logit = marked_f32(saturated_f32(params.scale * logit));
    let grown = max(largest, logit);
    // The factor is rounded, so it is applied only if the maximum grew.
    sum = sum * select(exp(largest - grown), 1.0, grown == largest) + exp(logit - grown);
    largest = grown;
  }
  maxima[lane.index] = largest;
  totals[lane.index] = sum;
  workgroupBarrier();
  if lane.index == 0u && end > 0u {
    for (var part = 1u; part < LANES; part++) {
      largest = max(largest, maxima[part]);
    }
    var total = 0.0;
    for (var part = 0u; part < LANES; part++) {
      total += totals[part] * exp(maxima[part] - largest);
    }
    sums[params.sums_base + row] = largest;
    sums[params.sums_base + params.groups + row] = unless_spoilt(total, largest);
  }
}
