// Logits of attention, and what a row sees. The parameters and bindings are those of `attention.wgsl`.

override BIASED: u32 = 0u; // or 1

// Live query rows and keys.
var<workgroup> live: vec2<u32>;

// Where the tensors of this batch row and head begin.
struct Place {
  queries: u32,
  keys: u32,
  values: u32,
  bias: u32,
  out: u32,
  lse: u32,
  live_queries: u32,
  live_keys: u32,
}

// Rows and keys past the last one read the last one. Their results are masked.
fn row_first(place: Place, row: u32) -> u32 {
  return place.queries + min(row, params.query_count - 1u) * params.query_row;
}

fn row_elem(at: u32) -> elem_f32 {
  return elem_f32(queries[at]);
}

fn column_first(place: Place, key: u32) -> u32 {
  return place.keys + min(key, params.key_count - 1u) * params.key_row;
}

fn column_elem(at: u32) -> elem_f32 {
  return elem_f32(keys[at]);
}

// How many keys, from the first on, this row sees. A dead row sees none. Causal masks are right-aligned.
fn visible_keys(place: Place, row: u32) -> u32 {
  let reach = row + 1u + place.live_keys;
  let seen = select(place.live_keys, reach - min(reach, place.live_queries), params.causal == 1u);
  return select(0u, seen, row < place.live_queries);
}

// A row's logits of the four keys from `key` on, given their products.
fn row_logits(place: Place, row: u32, key: u32, products: vec4<f32>) -> vec4<f32> {
  var logits = params.scale * products;
  var seen = vec4<u32>(key, key + 1u, key + 2u, key + 3u) < vec4<u32>(visible_keys(place, row));
  if BIASED == 1u {
    let at = place.bias + min(row, params.query_count - 1u) * params.bias_row;
    let last = params.key_count - 1u;
    let offset = vec4<f32>(
      bias[at + min(key, last)],
      bias[at + min(key + 1u, last)],
      bias[at + min(key + 2u, last)],
      bias[at + min(key + 3u, last)],
    );
    logits += offset;
    seen = seen & (bitcast<vec4<u32>>(offset) != vec4<u32>(HIDDEN));
  }
  return bitcast<vec4<f32>>(select(vec4<u32>(HIDDEN), bitcast<vec4<u32>>(marked(saturated(logits))), seen));
}

fn largest_of(logits: vec4<f32>) -> f32 {
  let shown = select(logits, vec4<f32>(LOWEST), bitcast<vec4<u32>>(logits) == vec4<u32>(HIDDEN));
  return max(max(shown.x, shown.y), max(shown.z, shown.w));
}

fn row_weights(logits: vec4<f32>, largest: f32) -> vec4<f32> {
  return select(exponential(logits - largest), vec4<f32>(), bitcast<vec4<u32>>(logits) == vec4<u32>(HIDDEN));
}

