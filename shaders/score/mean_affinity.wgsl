// The mean over all tokens of a function of the cosine to each.
//
//   mean_i = sum_j f(unit_i . unit_j) / count        over the live tokens j without NaN, i among them
//   FUNCTION 0: f(c) = c - limit if c > limit, else exp(c - limit) - 1
//   FUNCTION 1: f(c) = exp(-((1 - c) / limit)^2 / 2)
//
// unit:    [B, N, C] f32, C / 4 elems of four numbers where C is a multiple of 4: rows of norm 1, or 0
// norm:    [B, N] f32; NaN for rows with a NaN or an infinity
// lengths: [B] u32; tokens from it on are dead
// mean:    [B, N] f32; NaN for rows with a NaN or an infinity, 0 for dead ones
//
// A workgroup has 64 tokens and walks over all 64 at a time. An invocation has four of the tokens, and 16 of every 64 others, or eight in the
// form for GPUs. It adds up its own in ascending order; these sums are added in order.
//
// Cost: 2 N^2 C operations. 64 tokens share one read of the others' rows, and 64 others one of theirs.

override FUNCTION: u32;

const PARTS = 64u / TILE_ROWS; // of 64 others

// Sums, and how many others count: [token, part of the others].
var<workgroup> sums: array<f32, 4u * TILE_LANES>;
var<workgroup> tallies: array<u32, 4u * TILE_LANES>;
var<workgroup> alive: u32;

struct Place {
  batch: u32,
  live: u32,
}

fn row_first(place: Place, token: u32) -> u32 {
  return params.unit_base + (place.batch * params.tokens + min(token, params.tokens - 1u)) * params.channels;
}

fn row_elem(at: u32) -> elem_f32 {
  return unit[at];
}

fn column_first(place: Place, token: u32) -> u32 {
  return row_first(place, token);
}

fn column_elem(at: u32) -> elem_f32 {
  return unit[at];
}

fn is_broken(place: Place, token: u32) -> bool {
  let bits = bitcast<u32>(norm[params.norm_base + place.batch * params.tokens + min(token, params.tokens - 1u)]);
  return (bits & 0x7fffffffu) > 0x7f800000u;
}

// 1 for a token that counts.
alias Fact = u32;

fn row_fact(place: Place, token: u32) -> Fact {
  return select(0u, 1u, token < place.live && !is_broken(place, token));
}

// What the invocation's four tokens have of the others.
struct Found {
  sums: vec4<f32>,
  tally: u32,
}

fn affinity(cosines: vec4<f32>) -> vec4<f32> {
  if FUNCTION == 1u {
    let apart = (vec4<f32>(1.0) - cosines) / params.limit;
    return exp(-0.5 * apart * apart);
  }
  let above = cosines - vec4<f32>(params.limit);
  return select(exp(above) - vec4<f32>(1.0), above, above > vec4<f32>());
}

// The state after one more token, of these cosines.
fn after(found: Found, cosines: vec4<f32>, fact: Fact) -> Found {
  return Found(select(found.sums, found.sums + affinity(cosines), vec4<bool>(fact == 1u)), found.tally + fact);
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
  let extent = Extent(walked, params.tokens, params.channels);
  var found = Found(vec4<f32>(), 0u);
  for (var first = 0u; first < walked; first += 64u) {
    let other = first + tile_row(lane);
    let tile = dot_tile(lane, place, other, column, wanted_elems(lane, extent, other, first_token));
    let facts = row_facts(lane, place, other);
    found = after(found, tile.r0, facts.r0);
    found = after(found, tile.r1, facts.r1);
    found = after(found, tile.r2, facts.r2);
    found = after(found, tile.r3, facts.r3);
    found = after(found, tile.r4, facts.r4);
    found = after(found, tile.r5, facts.r5);
    found = after(found, tile.r6, facts.r6);
    found = after(found, tile.r7, facts.r7);
    if TALL {
      found = after(found, tile.r8, facts.r8);
      found = after(found, tile.r9, facts.r9);
      found = after(found, tile.r10, facts.r10);
      found = after(found, tile.r11, facts.r11);
      found = after(found, tile.r12, facts.r12);
      found = after(found, tile.r13, facts.r13);
      found = after(found, tile.r14, facts.r14);
      found = after(found, tile.r15, facts.r15);
    }
  }

  let slot = tile_column(lane) * PARTS + tile_row(lane) / TILE_ROWS;
  for (var i = 0u; i < 4u; i++) {
    sums[slot + i * PARTS] = found.sums[i];
    tallies[slot + i * PARTS] = found.tally;
  }
  workgroupBarrier();
  let token = first_token + lane.index;
  if lane.index >= 64u || token >= params.tokens { return; }
  var sum = 0.0;
  var tally = 0u;
  for (var part = lane.index * PARTS; part < lane.index * PARTS + PARTS; part++) {
    sum += sums[part];
    tally += tallies[part];
  }
  var result = sum / f32(max(tally, 1u));
  if is_broken(place, token) { result = make_nan(); }
  if token >= live { result = 0.0; }
  mean[params.mean_base + batch * params.tokens + token] = result;
}
