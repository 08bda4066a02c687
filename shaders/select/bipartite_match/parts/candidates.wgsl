// Which entries of the lists bipartite_match compares, and what it reports of the best. Included after order. The including shader declares
// `params` and the bindings of the inputs.
const NONE = 0xffffffffu;
const LOWEST = -3.4028234e38; // stands for a NaN
const NEAR = 0.984375; // 1 - 2^-6

struct Place {
  batch: u32,
  live: u32,
}

// The token of an entry of the lists, or NONE if it is no candidate. It has no branches and no `&&`, because some compilers take minutes
// over this shader's many inlined copies of them.
fn source_token(place: Place, i: u32) -> u32 {
  let token = sources[params.sources_base + place.batch * params.source_stride + min(i, params.source_count - 1u)];
  return select(NONE, token, (i >= params.protected_sources) & (i < params.source_count) & (token < place.live));
}

fn destination_token(place: Place, j: u32) -> u32 {
  let last = params.destination_count - 1u;
  let token = destinations[params.destinations_base + place.batch * params.destination_stride + min(j, last)];
  return select(NONE, token, (j >= params.protected_destinations) & (j <= last) & (token < place.live));
}

// NONE reads the batch row's first token.
fn row_of(place: Place, token: u32) -> u32 {
  return place.batch * params.tokens + select(token, 0u, token == NONE);
}

// Whether the row has neither a NaN nor an infinity.
fn is_sound(place: Place, token: u32) -> bool {
  return (bitcast<u32>(norm[params.norm_base + row_of(place, token)]) & 0x7fffffffu) <= 0x7f800000u;
}

// The similarity of a source to its best destination, if there is one. `product` is their inner product.
fn similarity_of(place: Place, source: u32, j: u32, product: f32) -> f32 {
  if j == NONE { return make_negative_infinity(); }
  let a_token = source_token(place, source);
  let b_token = destination_token(place, j);
  if !is_sound(place, a_token) || !is_sound(place, b_token) { return make_nan(); }
  if product < NEAR { return max(product, -1.0); }
  let a = params.unit_base + row_of(place, a_token) * params.channels;
  let b = params.unit_base + row_of(place, b_token) * params.channels;
  var square = 0.0;
  for (var c = 0u; c < params.channels; c++) {
    let difference = unit[a + c] - unit[b + c];
    square += elem_dot(difference, difference);
  }
  return 1.0 - 0.5 * square;
}
