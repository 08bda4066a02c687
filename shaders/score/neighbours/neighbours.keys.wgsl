// How near candidates are to queries, as keys: a larger key is a nearer candidate. This is the first pass.
//
//   keys[q, c] = order of rows_q . rows_c, or of -sum_k (rows_qk - rows_ck)^2
//
// rows:       [B, N, C] elem, four channels per elem where C is a multiple of 4
// norm:       [B, N] f32, NaN for rows with a NaN or an infinity; unused for distances
// queries:    [Q] or [B, Q] u32, token positions; unused where every token is one
// candidates: [M] or [B, M] u32, token positions; unused where every token is one
// lengths:    [B] u32; positions from it on are dead
// keys:       [queries of the dispatch, pitch / 4] of four u32; not written for tiles of dead queries or dead candidates
//
// The key of a NaN similarity, of a similarity with a row that has a NaN or an infinity, and of a distance that is not finite is KEY_NAN. That
// of a dead or excluded candidate is KEY_DEAD.
//
// A workgroup makes 64 x 64 keys. The queries of a dispatch are tiles of 64, from any batch rows.
//
// Cost: 2 Q M C operations, 3 Q M C for distances. 64 queries share one read of the candidates' rows, and 64 candidates one of the queries'.

var<workgroup> alive: u32;

struct Place {
  batch: u32,
  live: u32,
}

// A tile's rows are queries, and its columns are candidates.
fn row_first(place: Place, i: u32) -> u32 {
  return row_at(place.batch, query_at(place.batch, i));
}

fn row_elem(at: u32) -> elem_f32 {
  return elem_f32(rows[at]);
}

fn column_first(place: Place, j: u32) -> u32 {
  return row_at(place.batch, candidate_at(place.batch, j));
}

fn column_elem(at: u32) -> elem_f32 {
  return elem_f32(rows[at]);
}

// A token, or NONE if it is dead, and whether its row is free of NaN and infinities.
fn fact_of(place: Place, token: u32) -> vec2<u32> {
  let sound = (params.by_distance == 1u) | (params.tokens == 0u);
  let at = params.norm_base + select(place.batch * params.tokens + select(0u, token, token < params.tokens), 0u, sound);
  return vec2<u32>(select(NONE, token, token < place.live), select(0u, 1u, sound | is_finite(norm[at])));
}

alias Fact = vec2<u32>;

fn row_fact(place: Place, i: u32) -> Fact {
  return fact_of(place, query_at(place.batch, i));
}

// What the invocation knows of its four candidates.
struct Four {
  tokens: vec4<u32>,
  sound: vec4<u32>,
}

// A query's keys of four candidates.
fn keys_of(sums: vec4<f32>, query: Fact, four: Four) -> vec4<u32> {
  let bits = bitcast<vec4<u32>>(select(max(sums, vec4<f32>(-1.0)), sums, params.by_distance == 1u));
  let sign = vec4<u32>(0x80000000u);
  let order = select(bits | sign, ~bits, bits > sign); // -0 equals +0
  let finite = (bits & vec4<u32>(0x7fffffffu)) < vec4<u32>(0x7f800000u);
  let sound = finite & (four.sound == vec4<u32>(1u)) & vec4<bool>(query.y == 1u);
  let keys = select(vec4<u32>(KEY_NAN), select(order, ~order, params.by_distance == 1u), sound);
  let own = (four.tokens == vec4<u32>(query.x)) & vec4<bool>(params.exclude_self == 1u);
  return select(keys, vec4<u32>(KEY_DEAD), own | (four.tokens == vec4<u32>(NONE)));
}

@compute @workgroup_size(TILE_LANES)
fn main(grid: Grid, lane: Lane) {
  let id = linear_group(grid);
  if id >= params.groups { return; }
  let across = params.pitch / 64u;
  let tiles_of_row = (params.query_count + 63u) / 64u;
  let tile_in_block = id / across;
  let batch = (params.first_tile + tile_in_block) / tiles_of_row;
  let first_query = (params.first_tile + tile_in_block) % tiles_of_row * 64u;
  let first_candidate = id % across * 64u;
  if lane.index == 0u {
    alive = min(lengths[params.lengths_base + batch], params.tokens);
  }
  let live = workgroupUniformLoad(&alive);
  let walked = candidates_of(live);
  if first_candidate >= walked || (params.queries_listed == 0u && first_query >= live) { return; }

  let row = first_query + tile_row(lane);
  let column = first_candidate + tile_column(lane);
  let place = Place(batch, live);
  let extent = Extent(params.query_count, walked, params.channels);
  let tile = dot_tile(lane, place, row, column, wanted_elems(lane, extent, row, first_candidate));
  let facts = row_facts(lane, place, row);
  let a = fact_of(place, candidate_at(batch, column));
  let b = fact_of(place, candidate_at(batch, column + 1u));
  let c = fact_of(place, candidate_at(batch, column + 2u));
  let d = fact_of(place, candidate_at(batch, column + 3u));
  let four = Four(vec4<u32>(a.x, b.x, c.x, d.x), vec4<u32>(a.y, b.y, c.y, d.y));
  let pitch = params.pitch / 4u;
  let at = params.keys_base + (tile_in_block * 64u + tile_row(lane)) * pitch + column / 4u;
  keys[at] = keys_of(tile.r0, facts.r0, four);
  keys[at + pitch] = keys_of(tile.r1, facts.r1, four);
  keys[at + 2u * pitch] = keys_of(tile.r2, facts.r2, four);
  keys[at + 3u * pitch] = keys_of(tile.r3, facts.r3, four);
  keys[at + 4u * pitch] = keys_of(tile.r4, facts.r4, four);
  keys[at + 5u * pitch] = keys_of(tile.r5, facts.r5, four);
  keys[at + 6u * pitch] = keys_of(tile.r6, facts.r6, four);
  keys[at + 7u * pitch] = keys_of(tile.r7, facts.r7, four);
  if TALL {
    keys[at + 8u * pitch] = keys_of(tile.r8, facts.r8, four);
    keys[at + 9u * pitch] = keys_of(tile.r9, facts.r9, four);
    keys[at + 10u * pitch] = keys_of(tile.r10, facts.r10, four);
    keys[at + 11u * pitch] = keys_of(tile.r11, facts.r11, four);
    keys[at + 12u * pitch] = keys_of(tile.r12, facts.r12, four);
    keys[at + 13u * pitch] = keys_of(tile.r13, facts.r13, four);
    keys[at + 14u * pitch] = keys_of(tile.r14, facts.r14, four);
    keys[at + 15u * pitch] = keys_of(tile.r15, facts.r15, four);
  }
}
