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
// values:     [B, Q, K] f32, as bits
//
// Equally near candidates keep the order of the list. These rank last: a NaN similarity, a similarity with a row that has a NaN or an
// infinity, and a distance that is not finite. After the last candidate, and for dead queries, the index is NONE and the value 0.
//
// A workgroup has 64 queries and walks over the candidates 64 at a time. The tile's sums pass through workgroup memory to 64 invocations,
// which have a query each. An invocation keeps the sorted list of its query in the outputs, with keys for values, until all candidates have
// been looked at. Most candidates are further away than the last of the list, and end there.
//
// Cost: 2 Q M C operations, 3 Q M C for distances. 64 queries share one read of the candidates' rows, and 64 candidates one of the queries'.

const SHOWN = 2u * TILE_ROWS; // rows of the tile that are in workgroup memory at a time
var<workgroup> shown: array<array<vec4<f32>, 16>, SHOWN>; // [candidate, four queries]
var<workgroup> walk: atomic<u32>; // candidates to look at

struct Place {
  batch: u32,
  live: u32,
}

// A tile's rows are candidates, and its columns are queries.
fn row_first(place: Place, j: u32) -> u32 {
  return row_at(place.batch, candidate_at(place.batch, j));
}

fn row_elem(at: u32) -> elem_f32 {
  return elem_f32(rows[at]);
}

fn column_first(place: Place, i: u32) -> u32 {
  return row_at(place.batch, query_at(place.batch, i));
}

fn column_elem(at: u32) -> elem_f32 {
  return elem_f32(rows[at]);
}

// What an invocation keeps of its query.
struct Query {
  token: u32,
  output: u32, // where its list begins
  found: u32, // entries of the list
  worst: u32, // the last key of a full list; KEY_DEAD before it is full
}

// Whether a candidate with this sum may have a larger key than the list's last. It may be further away than the sum says, but not nearer,
// except near 1.
fn may_enter(sum: f32, worst: u32) -> bool {
  if params.by_distance == 1u { return select(KEY_NAN, order_key_smallest(sum), is_finite(sum)) > worst; }
  return max(order_key(sum), order_key(-1.0)) > worst || (sum >= NEAR && worst < order_key(1.0));
}

// The state after candidate j of the list.
fn entered(place: Place, query: Query, j: u32, sum: f32) -> Query {
  let candidate = candidate_at(place.batch, j);
  if candidate >= place.live || (params.exclude_self == 1u && candidate == query.token) { return query; }
  let key = key_of(place.batch, query.token, candidate, sum);
  if key <= query.worst { return query; }
  // Those in the list have lower indices: of equal keys they go first.
  let first_key = params.values_base + query.output;
  let first_index = params.indices_base + query.output;
  var at = query.found;
  while at > 0u {
    let before = values[first_key + at - 1u];
    if before >= key { break; }
    if at < params.nearest {
      values[first_key + at] = before;
      indices[first_index + at] = indices[first_index + at - 1u];
    }
    at--;
  }
  values[first_key + at] = key;
  indices[first_index + at] = j;
  var next = query;
  next.found = min(query.found + 1u, params.nearest);
  if next.found == params.nearest { next.worst = values[first_key + params.nearest - 1u]; }
  return next;
}

@compute @workgroup_size(TILE_LANES)
fn main(grid: Grid, lane: Lane) {
  let id = linear_group(grid);
  if id >= params.tiles { return; }
  let tiles_of_row = (params.query_count + 63u) / 64u;
  let batch = id / tiles_of_row;
  let first_query = id % tiles_of_row * 64u;
  let place = Place(batch, min(lengths[params.lengths_base + batch], params.tokens));
  let own = first_query + lane.index;
  let token = query_at(batch, own);
  let searches = (lane.index < 64u) & (token < place.live);

  // A tile whose queries are all dead has nothing to look at.
  if lane.index == 0u {
    atomicStore(&walk, 0u);
  }
  workgroupBarrier();
  if searches {
    let alive = select(params.candidate_count, min(place.live, params.candidate_count), params.candidates_listed == 0u);
    atomicMax(&walk, alive);
  }
  let walked = workgroupUniformLoad(&walk);

  let extent = Extent(walked, params.query_count, params.channels);
  let column = first_query + tile_column(lane);
  var query = Query(token, (batch * params.query_count + own) * params.nearest, 0u, KEY_DEAD);
  for (var first = 0u; first < walked; first += 64u) {
    let j = first + tile_row(lane);
    let tile = dot_tile(lane, place, j, column, wanted_elems(lane, extent, j, first_query));
    for (var part = 0u; part < 64u; part += SHOWN) {
      if tile_row(lane) / SHOWN * SHOWN == part {
        let row = tile_row(lane) - part;
        let four = tile_column(lane) / 4u;
        shown[row][four] = tile.r0;
        shown[row + 1u][four] = tile.r1;
        shown[row + 2u][four] = tile.r2;
        shown[row + 3u][four] = tile.r3;
        shown[row + 4u][four] = tile.r4;
        shown[row + 5u][four] = tile.r5;
        shown[row + 6u][four] = tile.r6;
        shown[row + 7u][four] = tile.r7;
        if TALL {
          shown[row + 8u][four] = tile.r8;
          shown[row + 9u][four] = tile.r9;
          shown[row + 10u][four] = tile.r10;
          shown[row + 11u][four] = tile.r11;
          shown[row + 12u][four] = tile.r12;
          shown[row + 13u][four] = tile.r13;
          shown[row + 14u][four] = tile.r14;
          shown[row + 15u][four] = tile.r15;
        }
      }
      workgroupBarrier();
      if searches {
        for (var i = 0u; i < min(SHOWN, walked - min(walked, first + part)); i++) {
          let sum = shown[i][lane.index / 4u][lane.index % 4u];
          if may_enter(sum, query.worst) { query = entered(place, query, first + part + i, sum); }
        }
      }
      workgroupBarrier(); // wait until the sums have been read
    }
  }

  if lane.index < 64u && own < params.query_count {
    for (var i = 0u; i < params.nearest; i++) {
      let key = select(KEY_DEAD, values[params.values_base + query.output + i], i < query.found);
      if i >= query.found { indices[params.indices_base + query.output + i] = NONE; }
      values[params.values_base + query.output + i] = bitcast<u32>(value_of(key));
    }
  }
}
