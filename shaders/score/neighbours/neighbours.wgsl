// The nearest candidates of every query, nearest first.
//
//   similarity_ij = rows_i . rows_j                     of unit rows; the largest first
//                   near 1: 1 - |rows_i - rows_j|^2 / 2, which is 1 for equal rows and never more; at least -1
//   distance_ij   = sqrt(sum_c (rows_ic - rows_jc)^2)   the smallest first
//
// rows:       [B, N, C] elem, four channels per elem where C is a multiple of 4
// norm:       [B, N] f32, NaN for rows with a NaN or an infinity; unused for distances
// queries:    [Q] or [B, Q] u32, token positions; unused where every token is one
// candidates: [M] or [B, M] u32, token positions; unused where every token is one
// lengths:    [B] u32; positions from it on are dead
// indices:    [B, Q, K] u32, indices into the list of candidates
// values:     [B, Q, K] f32
//
// Equally near candidates keep the order of the list. These rank last: a NaN similarity, a similarity with a row that has a NaN or an
// infinity, and a distance that is not finite. After the last candidate, and for dead queries, the index is NONE and the value 0.
//
// A workgroup has 4 queries. Each has 32 lanes that walk over the candidates 32 at a time. A sorted list of the nearest K lies in workgroup
// memory. Each lane counts how many old and new entries come before its own; this count is the entry's place.
//
// Cost: 2 Q M C operations, 3 Q M C for distances. 4 queries share one read of the candidates' rows from cache.

const LANES = 32u; // per query
const CAPACITY = 64u; // of a query's list
var<workgroup> list_keys: array<u32, 256>;
var<workgroup> list_indices: array<u32, 256>;
var<workgroup> new_keys: array<u32, 128>;
var<workgroup> walk: u32; // candidates to look at

@compute @workgroup_size(128)
fn main(grid: Grid, lane: Lane) {
  let tile = linear_group(grid);
  if tile >= params.tiles { return; }
  let tiles_of_row = (params.query_count + 3u) / 4u;
  let batch = tile / tiles_of_row;
  let first_query = tile % tiles_of_row * 4u;
  let live = min(lengths[params.lengths_base + batch], params.tokens);
  let team = lane.index / LANES;
  let in_team = lane.index % LANES;
  let query = query_at(batch, first_query + team);

  if lane.index == 0u {
    walk = 0u;
    for (var q = 0u; q < 4u; q++) {
      if query_at(batch, first_query + q) < live {
        walk = select(params.candidate_count, min(live, params.candidate_count), params.candidates_listed == 0u);
      }
    }
  }
  let first_entry = team * CAPACITY;
  list_keys[first_entry + in_team] = KEY_DEAD;
  list_keys[first_entry + LANES + in_team] = KEY_DEAD;
  list_indices[first_entry + in_team] = NONE;
  list_indices[first_entry + LANES + in_team] = NONE;
  let walked = workgroupUniformLoad(&walk);

  for (var first = 0u; first < walked; first += LANES) {
    let index = first + in_team;
    let candidate = candidate_at(batch, index);
    var key = KEY_DEAD;
    if query < live && candidate < live && (params.exclude_self == 0u || candidate != query) {
      key = key_of(batch, query, candidate);
    }
    new_keys[lane.index] = key;
    workgroupBarrier();
    // All indices in the list are lower than the new ones. So among equal keys the old ones go first.
    let first_new = team * LANES;
    var place = 0u;
    for (var i = 0u; i < params.nearest; i++) {
      place += select(0u, 1u, list_keys[first_entry + i] >= key);
    }
    let old_key = list_keys[first_entry + in_team];
    let other_key = list_keys[first_entry + LANES + in_team];
    let old_index = list_indices[first_entry + in_team];
    let other_index = list_indices[first_entry + LANES + in_team];
    var old_place = in_team;
    var other_place = in_team + LANES;
    for (var i = 0u; i < LANES; i++) {
      let other = new_keys[first_new + i];
      place += select(0u, 1u, other > key || (other == key && i < in_team));
      old_place += select(0u, 1u, other > old_key);
      other_place += select(0u, 1u, other > other_key);
    }
    workgroupBarrier(); // wait until all have read the list
    if old_key != KEY_DEAD && old_place < params.nearest {
      list_keys[first_entry + old_place] = old_key;
      list_indices[first_entry + old_place] = old_index;
    }
    if other_key != KEY_DEAD && other_place < params.nearest {
      list_keys[first_entry + other_place] = other_key;
      list_indices[first_entry + other_place] = other_index;
    }
    if key != KEY_DEAD && place < params.nearest {
      list_keys[first_entry + place] = key;
      list_indices[first_entry + place] = index;
    }
    workgroupBarrier(); // wait until the list is complete
  }

  if first_query + team < params.query_count {
    let output = (batch * params.query_count + first_query + team) * params.nearest;
    for (var i = in_team; i < params.nearest; i += LANES) {
      let key = list_keys[first_entry + i];
      indices[params.indices_base + output + i] = list_indices[first_entry + i];
      values[params.values_base + output + i] = value_of(key);
    }
  }
}
