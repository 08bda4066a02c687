// Where a workgroup of attention_score's wide passes is, and what its rows see. Included after attention_rows and softmax. The including
// shader declares `params`, `lengths`, `query_lengths`, `bias` and `list`.
struct Place {
  batch: u32,
  head: u32,
  query: u32, // first query element of the head
  key: u32, // first key element of the head
  live_queries: u32,
  live_keys: u32,
}

// Live query rows and keys.
var<workgroup> live: vec2<u32>;

// The place of a workgroup. Call in uniform control flow, because its counts bound loops around barriers.
fn place_of(lane: Lane, batch: u32, head: u32) -> Place {
  if lane.index == 0u {
    live = vec2<u32>(
      min(query_lengths[params.query_lengths_base + batch], params.query_count),
      min(lengths[params.lengths_base + batch], params.key_count),
    );
  }
  let counts = workgroupUniformLoad(&live);
  return Place(batch, head, first_query(batch, head), first_key(batch, head), counts.x, counts.y);
}

// How many keys the r-th of the rows asked for sees.
fn visible_to(place: Place, r: u32) -> u32 {
  let row = query_row(min(r, params.rows - 1u), place.live_queries);
  return select(0u, visible_keys(row, place.live_queries, place.live_keys), r < params.rows);
}

// The four keys from this one on. A key that its bias hides gets a number past every key that a row sees.
fn shown_keys(key: u32, offset: vec4<f32>) -> vec4<u32> {
  return select(vec4<u32>(key, key + 1u, key + 2u, key + 3u), vec4<u32>(0xffffffffu), bitcast<vec4<u32>>(offset) == vec4<u32>(HIDDEN));
}

// The bias of the four keys from this one on.
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

