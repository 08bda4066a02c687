// Logits of attention, and what a row sees. The parameters and bindings are those of `attention.wgsl`.

override BIASED: u32 = 0u; // or 1
override LIMITED: u32 = 0u; // or 1: soft caps, windows, and rows that stand anywhere; a bias only if the params say so
override PAGED: u32 = 0u; // or 1: `bias` has no bias, but the numbers of the pages whose keys count, in their order

const NO_LIMIT = 0xffffffffu;

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
  listed: u32, // keys of a list of pages
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

fn page_at(place: Place, entry: u32) -> u32 {
  // A number as large as this is no page's.
  return u32(min(bias[place.bias + min(entry, params.pages - 1u)], 16777216.0));
}

// Where four neighbours in the order of the keys are in memory; beyond all keys if there is no such page.
fn four_keys(place: Place, key: u32) -> vec4<u32> {
  let keys = vec4<u32>(key, key + 1u, key + 2u, key + 3u);
  if PAGED == 0u { return keys; }
  let bits = params.page_bits;
  var page = vec4<u32>(page_at(place, key >> bits));
  if bits < 2u {
    page.y = page_at(place, keys.y >> bits);
    page.z = page_at(place, keys.z >> bits);
    page.w = page_at(place, keys.w >> bits);
  }
  let shift = vec4<u32>(bits);
  let inside = keys & vec4<u32>((1u << bits) - 1u);
  let is_key = (keys < vec4<u32>(place.listed)) & (page <= vec4<u32>(params.key_count >> bits));
  return select(vec4<u32>(NO_LIMIT), (page << shift) | inside, is_key);
}

fn column_elem(at: u32) -> elem_f32 {
  return elem_f32(keys[at]);
}

// The key at which a row stands. Tensors whose rows are limited have at most 2^29 rows and keys.
fn position(place: Place, row: u32) -> i32 {
  return i32(row) + select(i32(params.offset), i32(place.live_keys) - i32(place.live_queries), params.offset == NO_LIMIT);
}

// The first key that this row sees.
fn first_key(place: Place, row: u32) -> u32 {
  if LIMITED == 0u || params.before == NO_LIMIT { return 0u; }
  return u32(max(position(place, row) - i32(params.before), 0));
}

// How many keys, from the first on, this row may see. A dead row sees none. Causal masks are right-aligned, if not limited.
fn visible_keys(place: Place, row: u32) -> u32 {
  if LIMITED == 1u {
    let end = clamp(position(place, row) + i32(params.after) + 1, 0, i32(place.live_keys));
    return select(0u, select(u32(end), place.live_keys, params.after == NO_LIMIT), row < place.live_queries);
  }
  let reach = row + 1u + place.live_keys;
  let seen = select(place.live_keys, reach - min(reach, place.live_queries), params.causal == 1u);
  return select(0u, seen, row < place.live_queries);
}

// cap tanh(logit / cap). Near 0 it is a series, because 1 - exp(-2 x) loses what is small.
fn capped(logits: vec4<f32>) -> vec4<f32> {
  let x = logits / params.cap;
  let square = x * x;
  let near = x + x * square * (-0.33333333 + square * (0.13333333 + square * (-0.053968254 + square * 0.021869489)));
  let rest = exp(-2.0 * abs(x));
  let far = (1.0 - rest) / (1.0 + rest);
  return params.cap * select(select(far, -far, x < vec4<f32>()), near, abs(x) < vec4<f32>(0.25));
}

// A row's logits of the four keys from `key` on, given their products.
fn row_logits(place: Place, row: u32, key: u32, products: vec4<f32>) -> vec4<f32> {
  var logits = params.scale * products;
  let keys = vec4<u32>(key, key + 1u, key + 2u, key + 3u);
  var seen = keys < vec4<u32>(visible_keys(place, row));
  if PAGED == 1u { seen = four_keys(place, key) < vec4<u32>(select(0u, place.live_keys, row < place.live_queries)); }
  if LIMITED == 1u {
    if params.cap > 0.0 { logits = capped(logits); }
    seen = seen & (keys >= vec4<u32>(first_key(place, row)));
  }
  if BIASED == 1u && (LIMITED == 0u || params.biased == 1u) {
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

