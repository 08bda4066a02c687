// The attention that pools of frames receive: from all frames, through the strongest head, and from themselves.
//
// This is pooled_attention for few frames, with one invocation per pool. It is the second pass, after pooled_attention.sums.short.
//
//   w[h,i,j]    = exp(scale * queries[b,h,i] . keys[b,h/(H/Hkv),j] - largest[b,h,i]) / sum[b,h,i]
//   received[t] = sum_i sum_{j in t} max_h w[h,i,j] / live frames
//   own[t]      = sum_{i in t} sum_{j in t} sum_h w[h,i,j] / (H frames of t)
//
// queries:  [B, H, M, D] elem, four channels per elem where D is a multiple of 4
// keys:     [B, Hkv, M, D] elem
// lengths:  [B] u32; live frames
// sums:     [2, B, H, M] f32; each query's largest scaled logit, then the sums of exp(logit - largest)
// received: [B, M / pool] f32; 0 for pools without a live frame
// own:      [B, M / pool] f32
//
// In the maximum over the heads, a NaN wins.
//
// Cost: 2 H M^2 D operations. Every pool reads all queries, from cache. No barriers.

@compute @workgroup_size(64)
fn main(grid: Grid, lane: Lane) {
  let id = linear_group(grid) * 64u + lane.index;
  if id >= params.groups { return; }
  let batch = id / params.pools;
  let live = min(lengths[params.lengths_base + batch], params.frames);
  let first = (id % params.pools) * params.pool;
  let end = min(first + params.pool, live);

  var from_all = 0.0;
  var from_own = 0.0;
  for (var i = 0u; i < live; i++) {
    for (var j = first; j < end; j++) {
      var peak = 0.0;
      var sum = 0.0;
      for (var h = 0u; h < params.heads; h++) {
        let row = (batch * params.heads + h) * params.frames + i;
        let key_head = h / (params.heads / params.key_heads);
        let key = (batch * params.key_heads + key_head) * params.frames + j;
        var logit = 0.0;
        for (var c = 0u; c < params.channels; c++) {
          let q = elem_f32(queries[params.queries_base + row * params.channels + c]);
          logit += elem_dot(q, elem_f32(keys[params.keys_base + key * params.channels + c]));
        }
        let largest = sums[params.sums_base + row];
        let total = sums[params.sums_base + params.groups / params.pools * params.heads * params.frames + row];
        let weight = exp(saturated_f32(params.scale * logit) - largest) * (1.0 / total);
        peak = max(peak, marked_f32(weight));
        sum += weight;
      }
      from_all += unless_spoilt(peak, peak);
      from_own += select(0.0, sum, i >= first && i < end);
    }
  }
  if first < live {
    from_all /= f32(live);
    from_own /= f32(params.heads * (end - first));
  }
  received[params.received_base + id] = from_all;
  own[params.own_base + id] = from_own;
}
