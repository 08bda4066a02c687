// What attention_score gives each key from a chunk of the query rows. Included after attention_place, tile_lanes, lane_numbers, row_facts and softmax.
// The including shader declares `params`, `sums`, `partials`, and
//
//   fn add_rows(lane: Lane, place: Place, r: u32, tile_key: u32, offset: vec4<f32>, key: vec4<u32>, totals: vec4<f32>) -> vec4<f32>
//
// which calls `add_row` for the invocation's rows from the r-th on.
// Key-stationary: a workgroup has 64 keys and walks over its chunk 64 rows at a time. An invocation keeps one sum (maximum) for each of its
// keys. At the end, the invocations of a key combine theirs. The chunks divide the live rows, so padding does not change the order of the
// sum.

const PARTS = 64u / TILE_ROWS; // of 64 rows

const SOFTMAX = 2u;
const MAGNITUDE = 3u; // as 0 without a scale and a bias
const MAXIMUM = 3u;

// How many keys the r-th row sees, the bits of its largest logit, and the bits of 1 / its sum.
alias Fact = vec3<u32>;

fn row_fact(place: Place, r: u32) -> Fact {
  var largest = 0.0;
  var sum = 1.0;
  if params.norm == SOFTMAX {
    let at = params.sums_base + (place.batch * params.heads + place.head) * params.rows + min(r, params.rows - 1u);
    largest = sums[at];
    sum = sums[at + params.batch * params.heads * params.rows];
  }
  return Fact(visible_to(place, r), bitcast<u32>(largest), bitcast<u32>(1.0 / sum));
}

// Four keys' totals after one more row. Masked weights do not count. It has no branches, because it is inlined sixteen times.
fn add_row(totals: vec4<f32>, products: vec4<f32>, offset: vec4<f32>, fact: Fact, key: vec4<u32>) -> vec4<f32> {
  let logits = saturated(select(params.scale * products + offset, products, params.norm % MAGNITUDE == 0u));
  let given = select(logits, abs(logits), params.norm == MAGNITUDE);
  let weights = select(given, exp(logits - bitcast<f32>(fact.y)) * bitcast<f32>(fact.z), params.norm == SOFTMAX);
  let reduced = select(totals + weights, max(totals, marked(weights)), params.row_reduction == MAXIMUM);
  return select(totals, reduced, key < vec4<u32>(fact.x));
}

@compute @workgroup_size(TILE_LANES)
fn main(grid: Grid, lane: Lane) {
  let id = linear_group(grid);
  if id >= params.groups { return; }
  let tiles = (params.columns + 63u) / 64u;
  let column_first = id % tiles * 64u;
  let chunk = id / tiles % params.parts_count;
  let head = id / tiles / params.parts_count % params.heads;
  let batch = id / tiles / params.parts_count / params.heads;

  let tile_key = params.column_first + column_first;
  let place = place_of(lane, batch, head);

  // The rows form at most `chunks` chunks, each a whole number of tiles long.
  let rows = select(params.rows, place.live_queries, params.every_row == 1u);
  let length = max(128u, ((rows + params.chunks - 1u) / params.chunks + 63u) / 64u * 64u);
  var first = chunk * length;
  // A tile whose keys are all dead has no rows.
  let end = select(0u, min(first + length, rows), tile_key < place.live_keys);
  if params.causal == 1u && params.every_row == 1u {
    // The first row that sees the tile's first key. Row tiles before it would add nothing.
    let sees = max(tile_key + place.live_queries, place.live_keys) - place.live_keys;
    first = max(first, sees / 64u * 64u);
  }
  let column = tile_key + tile_column(lane);
  let offset = key_bias(batch, column);
  let key = shown_keys(column, offset);
  let start = select(0.0, LOWEST, params.row_reduction == MAXIMUM);
  var totals = vec4<f32>(start);
  for (; first < end; first += 64u) {
    let r = first + tile_row(lane);
    totals = add_rows(lane, place, r, tile_key, offset, key, totals);
  }

  // Key t of the tile: [t, part of the rows].
  let slot = tile_column(lane) * PARTS + tile_row(lane) / TILE_ROWS;
  workgroupBarrier(); // wait until the last tile has been read
  show_number(slot, totals.x);
  show_number(slot + PARTS, totals.y);
  show_number(slot + 2u * PARTS, totals.z);
  show_number(slot + 3u * PARTS, totals.w);
  workgroupBarrier();
  let index = column_first + lane.index;
  if lane.index < 64u && index < params.columns {
    var total = start;
    for (var i = 0u; i < PARTS; i++) {
      let part = shown_number(lane.index * PARTS + i);
      total = select(total + part, max(total, part), params.row_reduction == MAXIMUM);
    }
    partials[params.partials_base + ((chunk * params.batch + batch) * params.heads + head) * params.columns + index] = total;
  }
}
