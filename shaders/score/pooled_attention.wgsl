// The attention that pools of frames receive: from all frames, through the strongest head, and from themselves. This is the last pass.
//
//   received[t] = sum_{j in t} sum_s partials[0,s,b,j] / live frames
//   own[t]      = sum_{j in t} sum_s partials[1,s,b,j] / (H frames of t)
//
// lengths:  [B] u32; live frames
// partials: [2, S, B, M] f32, what each frame receives from the chunks of the query frames
// received: [B, M / pool] f32; 0 for pools without a live frame
// own:      [B, M / pool] f32
//
// Cost: one read of the partials. An invocation makes one pool.

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
  for (var j = first; j < end; j++) {
    for (var s = 0u; s < params.parts; s++) {
      let at = params.partials_base + (s * params.batch + batch) * params.frames + j;
      from_all += partials[at];
      from_own += partials[at + params.parts * params.batch * params.frames];
    }
  }
  if first < live {
    from_all /= f32(live);
    from_own /= f32(params.heads * (end - first));
  }
  received[params.received_base + id] = from_all;
  own[params.own_base + id] = from_own;
}
