// For every token, the squared distance to the nearest denser token, and to the farthest token of all.
//
// rows:      [B, N, C] elem, four channels per elem where C is a multiple of 4
// density:   [B, N] f32
// lengths:   [B] u32; tokens from it on are dead
// distances: [B, N, 2] f32: to the nearest denser token, or -1 if there is none; to the farthest token
//
// NaN is the lowest density. Distances that are not finite do not count.
//
// A workgroup has 64 tokens and walks over the others 64 at a time. An invocation has four of the tokens, and 16 of every 64 others, or
// eight in the form for GPUs. The order in which distances are compared does not change the result.
//
// Cost: 3 N^2 C operations. 64 tokens share one read of the others' rows, and 64 others one of theirs.

const PARTS = 64u / TILE_ROWS; // of 64 others
const NONE = 0xffffffffu;

// Squared distances as bits, which have their order: [token, part of the others].
var<workgroup> nearest_of_part: array<u32, 4u * TILE_LANES>;
var<workgroup> farthest_of_part: array<u32, 4u * TILE_LANES>;
var<workgroup> alive: u32;

struct Place {
  batch: u32,
  live: u32,
}

fn row_at(place: Place, token: u32) -> u32 {
  return params.rows_base + (place.batch * params.tokens + min(token, params.tokens - 1u)) * params.channels;
}

fn row_first(place: Place, token: u32) -> u32 {
  return row_at(place, token);
}

fn row_elem(at: u32) -> elem_f32 {
  return elem_f32(rows[at]);
}

fn column_first(place: Place, token: u32) -> u32 {
  return row_at(place, token);
}

fn column_elem(at: u32) -> elem_f32 {
  return elem_f32(rows[at]);
}

// The order of a token's density, or KEY_DEAD.
alias Fact = u32;

fn row_fact(place: Place, token: u32) -> Fact {
  let value = density[params.density_base + place.batch * params.tokens + min(token, params.tokens - 1u)];
  return select(KEY_DEAD, order_key(value), token < place.live);
}

// What the invocation's four tokens have found.
struct Found {
  nearest: vec4<u32>,
  farthest: vec4<u32>,
}

// The state after one more token, at these squared distances.
fn after(found: Found, squares: vec4<f32>, own: vec4<u32>, fact: Fact) -> Found {
  let bits = bitcast<vec4<u32>>(squares) & vec4<u32>(0x7fffffffu);
  let counts = (bits < vec4<u32>(0x7f800000u)) & vec4<bool>(fact != KEY_DEAD);
  let denser = counts & (vec4<u32>(fact) > own);
  return Found(
    select(found.nearest, min(found.nearest, bits), denser),
    select(found.farthest, max(found.farthest, bits), counts),
  );
}

@compute @workgroup_size(TILE_LANES)
fn main(grid: Grid, lane: Lane) {
  let id = linear_group(grid);
  if id >= params.tiles { return; }
  let tiles_of_row = (params.tokens + 63u) / 64u;
  let batch = id / tiles_of_row;
  let first_token = id % tiles_of_row * 64u;
  if lane.index == 0u {
    alive = min(lengths[params.lengths_base + batch], params.tokens);
  }
  let live = workgroupUniformLoad(&alive);
  let place = Place(batch, live);
  // A tile whose tokens are all dead has nothing to compare.
  let walked = select(0u, live, first_token < live);

  let column = first_token + tile_column(lane);
  let own = vec4<u32>(
    row_fact(place, column),
    row_fact(place, column + 1u),
    row_fact(place, column + 2u),
    row_fact(place, column + 3u),
  );
  let extent = Extent(walked, params.tokens, params.channels);
  var found = Found(vec4<u32>(NONE), vec4<u32>());
  for (var first = 0u; first < walked; first += 64u) {
    let other = first + tile_row(lane);
    let tile = dot_tile(lane, place, other, column, wanted_elems(lane, extent, other, first_token));
    let facts = row_facts(lane, place, other);
    found = after(found, tile.r0, own, facts.r0);
    found = after(found, tile.r1, own, facts.r1);
    found = after(found, tile.r2, own, facts.r2);
    found = after(found, tile.r3, own, facts.r3);
    found = after(found, tile.r4, own, facts.r4);
    found = after(found, tile.r5, own, facts.r5);
    found = after(found, tile.r6, own, facts.r6);
    found = after(found, tile.r7, own, facts.r7);
    if TALL {
      found = after(found, tile.r8, own, facts.r8);
      found = after(found, tile.r9, own, facts.r9);
      found = after(found, tile.r10, own, facts.r10);
      found = after(found, tile.r11, own, facts.r11);
      found = after(found, tile.r12, own, facts.r12);
      found = after(found, tile.r13, own, facts.r13);
      found = after(found, tile.r14, own, facts.r14);
      found = after(found, tile.r15, own, facts.r15);
    }
  }

  let slot = tile_column(lane) * PARTS + tile_row(lane) / TILE_ROWS;
  for (var i = 0u; i < 4u; i++) {
    nearest_of_part[slot + i * PARTS] = found.nearest[i];
    farthest_of_part[slot + i * PARTS] = found.farthest[i];
  }
  workgroupBarrier();
  let token = first_token + lane.index;
  if lane.index >= 64u || token >= params.tokens { return; }
  var nearest = NONE;
  var farthest = 0u;
  if token < live {
    for (var part = lane.index * PARTS; part < lane.index * PARTS + PARTS; part++) {
      nearest = min(nearest, nearest_of_part[part]);
      farthest = max(farthest, farthest_of_part[part]);
    }
  }
  let output = params.distances_base + 2u * (batch * params.tokens + token);
  distances[output] = select(bitcast<f32>(nearest), -1.0, nearest == NONE);
  distances[output + 1u] = bitcast<f32>(farthest);
}
