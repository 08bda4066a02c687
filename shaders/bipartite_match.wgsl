// For every source the most similar destination. The matrix of similarities stays in registers.
//
//   similarity_i = max_j unit[source_i] . unit[destination_j]        partner_i = the lowest such j
//
// unit:         [B, N, C] f32, C / 4 elems of four where C is a multiple of 4
// norm:         [B, N] f32, NaN for rows with a NaN or an infinity
// sources:      [Ns] or [B, Ns] u32, token positions
// destinations: [Nd] or [B, Nd] u32, token positions
// lengths:      [B] u32; positions at or behind it are dead
// similarity:   [B, Ns] f32
// partner:      [B, Ns] u32, indices into the list of destinations
//
// Candidates are ordered by similarity descending, then index; NaN, the similarity to and of a row with a NaN or an
// infinity, ranks lowest. Dead and protected (leading) entries of the lists are no candidates: without any, and for a
// dead or protected source, similarity is -infinity and partner NONE.
//
// A workgroup has 32 sources: 8 groups of 4, each by 8 lanes, which walk over the destinations 4 at a time. Each
// inner product is one invocation's sum over ascending channels, whatever the batch and the padding.
//
// Cost: 2 Ns Nd C operations. The unit rows of the destinations are read from cache once for 32 sources, those of the sources
// once for 32 destinations.
struct Params {
  unit_base: u32,
  norm_base: u32,
  sources_base: u32,
  destinations_base: u32,
  lengths_base: u32,
  similarity_base: u32,
  partner_base: u32,
  tiles: u32, // of 32 sources, in the whole batch
  tokens: u32,
  channels: u32, // in elems
  source_count: u32,
  destination_count: u32,
  source_stride: u32, // from one batch row's list to the next: 0 or the count
  destination_stride: u32,
  protected_sources: u32,
  protected_destinations: u32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> unit: array<elem>;
@group(0) @binding(2) var<storage, read> norm: array<f32>;
@group(0) @binding(3) var<storage, read> sources: array<u32>;
@group(0) @binding(4) var<storage, read> destinations: array<u32>;
@group(0) @binding(5) var<storage, read> lengths: array<u32>;
@group(0) @binding(6) var<storage, read_write> similarity: array<f32>;
@group(0) @binding(7) var<storage, read_write> partner: array<u32>;

const NONE = 0xffffffffu;
var<workgroup> keys: array<u32, 256>; // [lane of destinations, source]
var<workgroup> partners: array<u32, 256>;

// A listed token: where its unit row is, and what may be compared with it. The first two states are the keys of what is
// compared.
struct Row {
  at: u32,
  state: u32,
}
const DEAD = KEY_DEAD;
const BROKEN = KEY_NAN; // has a NaN or an infinity
const SOUND = 2u;

// Entries that are no candidates stand on the batch row's first token. Without branches: some compilers take minutes over
// this shader's many copies of them.
fn row_of(batch: u32, token: u32, candidate: bool) -> Row {
  let row = batch * params.tokens + select(0u, token, candidate);
  let broken = (bitcast<u32>(norm[params.norm_base + row]) & 0x7fffffffu) > 0x7f800000u;
  return Row(params.unit_base + row * params.channels, select(DEAD, select(SOUND, BROKEN, broken), candidate));
}

fn source_row(batch: u32, i: u32, live: u32) -> Row {
  let token = sources[params.sources_base + batch * params.source_stride + min(i, params.source_count - 1u)];
  return row_of(batch, token, i >= params.protected_sources && i < params.source_count && token < live);
}

fn destination_row(batch: u32, j: u32, live: u32) -> Row {
  let token = destinations[params.destinations_base + batch * params.destination_stride + min(j, params.destination_count - 1u)];
  return row_of(batch, token, j >= params.protected_destinations && j < params.destination_count && token < live);
}

// order_key of four products, which are numbers, or the key of their states.
fn keys_of(products: vec4<f32>, states: vec4<u32>) -> vec4<u32> {
  let bits = bitcast<vec4<u32>>(products);
  let negative = vec4<u32>(0x80000000u);
  let ordered = select(bits | negative, ~bits, bits > negative); // -0 equals +0
  return select(ordered, states, states < vec4<u32>(SOUND));
}

struct Best {
  key: u32,
  partner: u32,
}

// Against the candidates first, first + 8 ...: the first of equals stays.
fn best_of(best: Best, candidates: vec4<u32>, first: u32) -> Best {
  var key = best.key;
  var partner = best.partner;
  partner = select(partner, first, candidates.x > key);
  key = max(key, candidates.x);
  partner = select(partner, first + 8u, candidates.y > key);
  key = max(key, candidates.y);
  partner = select(partner, first + 16u, candidates.z > key);
  key = max(key, candidates.z);
  partner = select(partner, first + 24u, candidates.w > key);
  return Best(max(key, candidates.w), partner);
}

// The float of a key.
fn similarity_of(key: u32) -> f32 {
  if key == KEY_DEAD { return make_negative_infinity(); }
  return order_value(key);
}

@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  lane: Lane,
) {
  let tile = linear_group(group, groups);
  if tile >= params.tiles { return; }
  let tiles_of_row = (params.source_count + 31u) / 32u;
  let batch = tile / tiles_of_row;
  let first_source = tile % tiles_of_row * 32u;
  let live = min(lengths[params.lengths_base + batch], params.tokens);

  let of_four = lane.index / 8u * 4u;
  let walker = lane.index % 8u;
  let source0 = source_row(batch, first_source + of_four, live);
  let source1 = source_row(batch, first_source + of_four + 1u, live);
  let source2 = source_row(batch, first_source + of_four + 2u, live);
  let source3 = source_row(batch, first_source + of_four + 3u, live);
  var best0 = Best(KEY_DEAD, NONE);
  var best1 = best0;
  var best2 = best0;
  var best3 = best0;

  var walked = params.destination_count;
  if max(max(source0.state, source1.state), max(source2.state, source3.state)) != DEAD {
    walked = 0u;
  }
  for (; walked < params.destination_count; walked += 32u) {
    let first = walked + walker;
    let destination0 = destination_row(batch, first, live);
    let destination1 = destination_row(batch, first + 8u, live);
    let destination2 = destination_row(batch, first + 16u, live);
    let destination3 = destination_row(batch, first + 24u, live);
    let states = vec4<u32>(destination0.state, destination1.state, destination2.state, destination3.state);
    if any(states != vec4<u32>(DEAD)) {
      var products0 = vec4<f32>();
      var products1 = vec4<f32>();
      var products2 = vec4<f32>();
      var products3 = vec4<f32>();
      for (var c = 0u; c < params.channels; c++) {
        let d0 = unit[destination0.at + c];
        let d1 = unit[destination1.at + c];
        let d2 = unit[destination2.at + c];
        let d3 = unit[destination3.at + c];
        let s0 = unit[source0.at + c];
        let s1 = unit[source1.at + c];
        let s2 = unit[source2.at + c];
        let s3 = unit[source3.at + c];
        products0 += vec4<f32>(elem_dot(s0, d0), elem_dot(s0, d1), elem_dot(s0, d2), elem_dot(s0, d3));
        products1 += vec4<f32>(elem_dot(s1, d0), elem_dot(s1, d1), elem_dot(s1, d2), elem_dot(s1, d3));
        products2 += vec4<f32>(elem_dot(s2, d0), elem_dot(s2, d1), elem_dot(s2, d2), elem_dot(s2, d3));
        products3 += vec4<f32>(elem_dot(s3, d0), elem_dot(s3, d1), elem_dot(s3, d2), elem_dot(s3, d3));
      }
      best0 = best_of(best0, keys_of(products0, min(states, vec4<u32>(source0.state))), first);
      best1 = best_of(best1, keys_of(products1, min(states, vec4<u32>(source1.state))), first);
      best2 = best_of(best2, keys_of(products2, min(states, vec4<u32>(source2.state))), first);
      best3 = best_of(best3, keys_of(products3, min(states, vec4<u32>(source3.state))), first);
    }
  }

  let slot = walker * 32u + of_four;
  keys[slot] = best0.key;
  keys[slot + 1u] = best1.key;
  keys[slot + 2u] = best2.key;
  keys[slot + 3u] = best3.key;
  partners[slot] = best0.partner;
  partners[slot + 1u] = best1.partner;
  partners[slot + 2u] = best2.partner;
  partners[slot + 3u] = best3.partner;
  workgroupBarrier();
  let source = first_source + lane.index;
  if lane.index < 32u && source < params.source_count {
    var best = Best(KEY_DEAD, NONE);
    for (var other = lane.index; other < 256u; other += 32u) {
      if keys[other] > best.key || (keys[other] == best.key && partners[other] < best.partner) {
        best = Best(keys[other], partners[other]);
      }
    }
    let output = batch * params.source_count + source;
    similarity[params.similarity_base + output] = similarity_of(best.key);
    partner[params.partner_base + output] = best.partner;
  }
}
