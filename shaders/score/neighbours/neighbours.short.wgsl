// The nearest of few candidates for every query, nearest first. This is neighbours with one invocation per query.
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
// Each invocation keeps a sorted list of its nearest K, at most 16 entries, in workgroup memory. It shares the list with no other
// invocation. An invocation's entries are as far apart as there are invocations, so all invocations access theirs at once.
//
// Cost: 2 Q M C operations, 3 for distances, and up to 16 moves for each pair. No barriers.

const LANES = 64u;
const CAPACITY = 16u; // of a list
var<workgroup> list_keys: array<u32, 1024>; // [entry, lane]
var<workgroup> list_indices: array<u32, 1024>;

// The key of a live candidate, made of its inner product or squared distance.
fn key_of(batch: u32, query: u32, candidate: u32, sum: f32) -> u32 {
  if params.by_distance == 1u {
    return select(KEY_NAN, order_key_smallest(sum), is_finite(sum));
  }
  let a = params.norm_base + batch * params.tokens;
  let sound = is_finite(norm[a + query]) && is_finite(norm[a + candidate]);
  return select(KEY_NAN, order_key(max(sum, -1.0)), sound);
}

// The inner product or the squared distance of the rows that start at these elements.
fn sum_of(a: u32, b: u32) -> f32 {
  if params.by_distance == 1u { return squared_distance(a, b); }
  var sum = 0.0;
  for (var c = 0u; c < params.channels; c++) {
    sum += elem_dot(elem_f32(rows[a + c]), elem_f32(rows[b + c]));
  }
  return sum;
}

@compute @workgroup_size(64)
fn main(grid: Grid, lane: Lane) {
  let row = linear_group(grid) * LANES + lane.index;
  if row >= params.groups { return; }
  let batch = row / params.query_count;
  let query = query_at(batch, row % params.query_count);
  let live = min(lengths[params.lengths_base + batch], params.tokens);
  let capacity = min(params.nearest, CAPACITY);

  var found = 0u;
  var walked = 0u;
  if query < live {
    walked = candidates_of(live);
  }
  for (var index = 0u; index < walked; index++) {
    let candidate = candidate_at(batch, index);
    if candidate >= live || (params.exclude_self == 1u && candidate == query) { continue; }
    let sum = sum_of(row_at(batch, query), row_at(batch, candidate));
    let key = exact_key(batch, query, candidate, key_of(batch, query, candidate, sum));
    // Those in the list have lower indices: of equal keys they go first.
    var place = found;
    while place > 0u {
      let above = (place - 1u) * LANES + lane.index;
      if list_keys[above] >= key { break; }
      if place < capacity {
        list_keys[above + LANES] = list_keys[above];
        list_indices[above + LANES] = list_indices[above];
      }
      place--;
    }
    if place < capacity {
      list_keys[place * LANES + lane.index] = key;
      list_indices[place * LANES + lane.index] = index;
      found = min(found + 1u, capacity);
    }
  }

  let output = row * params.nearest;
  for (var i = 0u; i < params.nearest; i++) {
    var key = KEY_DEAD;
    var index = NONE;
    if i < found {
      key = list_keys[i * LANES + lane.index];
      index = list_indices[i * LANES + lane.index];
    }
    indices[params.indices_base + output + i] = index;
    values[params.values_base + output + i] = value_of(key);
  }
}
