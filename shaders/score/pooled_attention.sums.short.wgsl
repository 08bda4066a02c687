// First pass for few frames: the largest scaled logit of each query row, and the sum of the row's exponentials.
//
//   s[b,h,i,j]    = scale * queries[b,h,i] . keys[b,h/(H/Hkv),j]
//   sums[0,b,h,i] = max_j s[b,h,i,j],     sums[1,b,h,i] = sum_j exp(s[b,h,i,j] - sums[0,b,h,i])
//
// queries: [B, H, M, D] elem
// keys:    [B, Hkv, M, D] elem
// lengths: [B] u32; live frames
// sums:    [2, B, H, M] f32; not written for dead rows; the sum is NaN if a logit is NaN
//
// One invocation per row. It keeps the logits of its keys, at most 16, in workgroup memory that no other invocation uses. An invocation's
// logits are as far apart as there are invocations, so all invocations access theirs at once.
//
// Cost: 2 H M^2 D operations. Every row reads all keys, from cache.

const LANES = 64u;
const MOST = 16u; // frames
var<workgroup> logits: array<f32, 1024>; // [frame, lane]

@compute @workgroup_size(64)
fn main(grid: Grid, lane: Lane) {
  let row = linear_group(grid) * LANES + lane.index;
  if row >= params.groups { return; }
  let head = row / params.frames;
  let batch = head / params.heads;
  let live = min(min(lengths[params.lengths_base + batch], params.frames), MOST);
  let key_head = batch * params.key_heads + head % params.heads / (params.heads / params.key_heads);
  if row % params.frames >= live { return; }

  var largest = LOWEST;
  for (var j = 0u; j < live; j++) {
    var logit = 0.0;
    for (var c = 0u; c < params.channels; c++) {
      let q = elem_f32(queries[params.queries_base + row * params.channels + c]);
      logit += elem_dot(q, elem_f32(keys[params.keys_base + (key_head * params.frames + j) * params.channels + c]));
    }
    logit = marked_f32(saturated_f32(params.scale * logit));
    logits[j * LANES + lane.index] = logit;
    largest = max(largest, logit);
  }
  var total = 0.0;
  for (var j = 0u; j < live; j++) {
    total += exp(logits[j * LANES + lane.index] - largest);
  }
  sums[params.sums_base + row] = largest;
  sums[params.sums_base + params.groups + row] = unless_spoilt(total, largest);
}
