// The nearest candidates of every query, nearest first. This is the second pass, after neighbours.keys.
//
//   similarity_ij = rows_i . rows_j                     of unit rows; the largest first
//                   near 1: 1 - |rows_i - rows_j|^2 / 2, which is 1 for equal rows and never more; at least -1
//   distance_ij   = sqrt(sum_c (rows_ic - rows_jc)^2)   the smallest first
//
// rows:       [B, N, C] elem, four channels per elem where C is a multiple of 4
// queries:    [Q] or [B, Q] u32, token positions; unused where every token is one
// candidates: [M] or [B, M] u32, token positions; unused where every token is one
// lengths:    [B] u32; positions from it on are dead
// keys:       [queries of the dispatch, pitch / 4] of four u32; a larger key is a nearer candidate. Exact ones take their place.
// indices:    [B, Q, K] u32, indices into the list of candidates
// values:     [B, Q, K] f32
//
// Equally near candidates keep the order of the list. These rank last: a NaN similarity, a similarity with a row that has a NaN or an
// infinity, and a distance that is not finite. After the last candidate, and for dead queries, the index is NONE and the value 0.
//
// One workgroup per query. Each of 64 invocations looks at four in every 256 candidates and keeps the nearest of its own. The K-th of these is
// as near as the K-th of all or further, so no candidate after it counts. The few that are left are ranked by counting. If they are more than
// the workgroup holds, K rounds each find the nearest that is left. A similarity near 1 is made of the distance for those that are ranked. For
// all it is only if the K-th is so near.
//
// Cost: two reads of the keys; 64 comparisons for each invocation's best, and P for each of P candidates that are left.

const LANES = 64u;
const HELD = 512u;
const NO_ONE = vec2<u32>(KEY_DEAD, NONE);
const EVERYONE = vec2<u32>(KEY_PROTECTED, 0u); // before every candidate
// Keys and indices of candidates.
var<workgroup> best_keys: array<u32, LANES>;
var<workgroup> best_indices: array<u32, LANES>;
// The same keys, of which a load brings four: every invocation reads them all.
var<workgroup> best_fours: array<vec4<u32>, 16>;
var<workgroup> held: array<vec2<u32>, HELD>;
var<workgroup> held_count: atomic<u32>;
var<workgroup> limit: vec2<u32>;
var<workgroup> alive: u32;

fn comes_before(a: vec2<u32>, b: vec2<u32>) -> bool {
  return (a.x > b.x) | ((a.x == b.x) & (a.y < b.y));
}

// The better of the best so far and those of four candidates that come after `last`.
fn better_of(best: vec2<u32>, four: vec4<u32>, index: u32, last: vec2<u32>) -> vec2<u32> {
  var result = best;
  for (var i = 0u; i < 4u; i++) {
    let candidate = vec2<u32>(four[i], index + i);
    let wins = (candidate.x > result.x) & comes_before(last, candidate);
    result = select(result, candidate, wins);
  }
  return result;
}

// Puts the exact keys in place of those that the invocation looks at.
fn make_exact(lane: Lane, batch: u32, query: u32, first: u32, fours: u32) {
  for (var j = lane.index; j < fours; j += LANES) {
    var four = keys[first + j];
    for (var i = 0u; i < 4u; i++) {
      four[i] = exact_key(batch, query, candidate_at(batch, 4u * j + i), four[i]);
    }
    keys[first + j] = four;
  }
}

fn write(place: u32, key: u32, index: u32) {
  indices[params.indices_base + place] = index;
  values[params.values_base + place] = value_of(key);
}

@compute @workgroup_size(64)
fn main(grid: Grid, lane: Lane) {
  let row = linear_group(grid);
  if row >= params.groups { return; }
  let tiles_of_row = (params.query_count + 63u) / 64u;
  let tile = params.first_tile + row / 64u;
  let batch = tile / tiles_of_row;
  let q = tile % tiles_of_row * 64u + row % 64u;
  if q >= params.query_count { return; }
  if lane.index == 0u {
    alive = min(lengths[params.lengths_base + batch], params.tokens);
    limit = NO_ONE;
    atomicStore(&held_count, 0u);
  }
  let live = workgroupUniformLoad(&alive);
  let query = query_at(batch, q);
  let fours = (select(0u, candidates_of(live), query < live) + 3u) / 4u;
  let first = params.keys_base + row * (params.pitch / 4u);
  let output = (batch * params.query_count + q) * params.nearest;
  // How far an inner product may be from the exact one.
  let error = f32(params.channels * ELEM_WIDTH) * 0x1p-22;
  var best = NO_ONE;
  var last = NO_ONE;
  for (var is_exact = false; true; is_exact = true) {
    if lane.index == 0u { limit = NO_ONE; }
    best = NO_ONE;
    for (var j = lane.index; j < fours; j += LANES) {
      best = better_of(best, keys[first + j], 4u * j, EVERYONE);
    }
    best_keys[lane.index] = best.x;
    best_indices[lane.index] = best.y;
    workgroupBarrier();
    if lane.index < LANES / 4u {
      let at = 4u * lane.index;
      best_fours[lane.index] = vec4<u32>(best_keys[at], best_keys[at + 1u], best_keys[at + 2u], best_keys[at + 3u]);
    }
    workgroupBarrier();
    var nearer = vec4<u32>();
    var equals = vec4<u32>();
    for (var i = 0u; i < LANES / 4u; i++) {
      let four = best_fours[i];
      nearer += select(vec4<u32>(0u), vec4<u32>(1u), four > vec4<u32>(best.x));
      equals += select(vec4<u32>(0u), vec4<u32>(1u), four == vec4<u32>(best.x));
    }
    var before = dot(nearer, vec4<u32>(1u));
    let equal = dot(equals, vec4<u32>(1u));
    // Few keys are equal: only those at the limit are told apart by their indices.
    if before < params.nearest && params.nearest <= before + equal && best.x != KEY_DEAD {
      for (var i = 0u; i < LANES; i++) {
        before += select(0u, 1u, best_keys[i] == best.x && best_indices[i] < best.y);
      }
      if before == params.nearest - 1u { limit = best; }
    }
    last = workgroupUniformLoad(&limit);
    // If the limit is among the keys whose exact ones may have another order, these are made, and the limit again.
    if is_exact || params.by_distance == 1u || last.x < order_key(NEAR - error) { break; }
    make_exact(lane, batch, query, first, fours);
  }
  if best.x != KEY_DEAD && !comes_before(last, best) {
    for (var j = lane.index; j < fours; j += LANES) {
      let four = keys[first + j];
      for (var i = 0u; i < 4u; i++) {
        let candidate = vec2<u32>(four[i], 4u * j + i);
        if candidate.x != KEY_DEAD && !comes_before(last, candidate) {
          let slot = atomicAdd(&held_count, 1u);
          if slot < HELD { held[slot] = candidate; }
        }
      }
    }
  }
  var count = workgroupUniformLoad(&held_count);
  if count > HELD {
    make_exact(lane, batch, query, first, fours);
    var found = EVERYONE;
    for (count = 0u; count < params.nearest; count++) {
      best = NO_ONE;
      for (var j = lane.index; j < fours; j += LANES) {
        best = better_of(best, keys[first + j], 4u * j, found);
      }
      best_keys[lane.index] = best.x;
      best_indices[lane.index] = best.y;
      workgroupBarrier();
      if lane.index == 0u {
        for (var i = 1u; i < LANES; i++) {
          let other = vec2<u32>(best_keys[i], best_indices[i]);
          best = select(best, other, comes_before(other, best));
        }
        limit = best;
        held[count] = best;
      }
      found = workgroupUniformLoad(&limit);
    }
  }

  for (var slot = lane.index; slot < count; slot += LANES) {
    held[slot].x = exact_key(batch, query, candidate_at(batch, held[slot].y), held[slot].x);
  }
  workgroupBarrier();
  for (var slot = lane.index; slot < count; slot += LANES) {
    let own = held[slot];
    var place = 0u;
    for (var i = 0u; i < count; i++) {
      place += select(0u, 1u, comes_before(held[i], own));
    }
    if place < params.nearest { write(output + place, own.x, own.y); }
  }
  for (var place = count + lane.index; place < params.nearest; place += LANES) {
    write(output + place, KEY_DEAD, NONE);
  }
}
