// Follows links between tokens to the start of each run.
//
//   a token with joins[i] != 0 and previous[i] < i continues the run of previous[i]; every other live token starts a run
//   start[i] = the first token of i's run
//   pairs:     only every second join of a run counts, from its first on: tokens 0 and 1 make a segment, then 2 and 3 ...
//
// joins:    [B, N] u32
// previous: [B, N] u32, or [N] for all rows
// lengths:  [B] u32; live tokens
// start:    [B, N] u32; NONE for dead tokens
// starts:   [B, N] u32; 1 for the first token of a segment, else 0
// places:   [B, N] u32, scratch: joins between a token and the first token of its run
//
// One workgroup per batch row takes a tile of tokens at a time, in ascending order. If rows are shorter than a tile, it takes as many rows
// as fit. Within a tile, pointer doubling follows all links in 8 rounds. Links that leave the tile end at tokens that are already resolved.
//
// Cost: one dispatch; one read of each input, 16 barriers for each 256 tokens, for any runs.

const NONE = 0xffffffffu;
const TILE = 256u;
var<workgroup> link: array<u32, TILE>; // the earliest token of the tile known so far in this token's run
var<workgroup> steps: array<u32, TILE>; // joins between that token and this one
var<workgroup> outer: array<u32, TILE>; // the token before the tile that the linked token continues, or NONE

@compute @workgroup_size(256)
fn main(grid: Grid, lane: Lane) {
  let first_batch = linear_group(grid) * params.rows;
  if first_batch >= params.batch { return; }
  let row_here = lane.index / params.tokens;
  let corner = row_here * params.tokens; // the row's first place in the tile
  let batch = first_batch + row_here;
  let has_row = row_here < params.rows && batch < params.batch;
  let row = batch * params.tokens;
  var live = 0u;
  if has_row {
    live = min(lengths[params.lengths_base + batch], params.tokens);
  }

  for (var first = 0u; first < params.tokens; first += TILE) {
    let token = first + lane.index - corner;
    var before = NONE;
    if token < live {
      let joined = joins[params.joins_base + row + token] != 0u;
      let linked = previous[params.previous_base + batch * params.previous_stride + token];
      before = select(NONE, linked, joined && linked < token);
    }
    let inside = before != NONE && before >= first;
    link[lane.index] = select(lane.index, corner + before - first, inside);
    steps[lane.index] = select(0u, 1u, inside);
    outer[lane.index] = select(before, NONE, inside);
    workgroupBarrier();
    for (var reach = 1u; reach < TILE; reach *= 2u) {
      let further = link[lane.index];
      let next = link[further];
      let taken = steps[further];
      workgroupBarrier(); // wait until all have read, before any writes
      link[lane.index] = next;
      steps[lane.index] += taken;
      workgroupBarrier();
    }

    var place = steps[lane.index];
    var origin = first + link[lane.index] - corner;
    let continued = outer[link[lane.index]];
    if continued != NONE {
      place += places[params.places_base + row + continued] + 1u;
      origin = start[params.start_base + row + continued];
    }
    if params.pairs != 0u {
      origin = select(token, before, place % 2u == 1u);
    }
    if has_row && token < params.tokens {
      places[params.places_base + row + token] = place;
      start[params.start_base + row + token] = select(NONE, origin, token < live);
      starts[params.starts_base + row + token] = select(0u, 1u, token < live && origin == token);
    }
    storageBarrier(); // the next tile continues this one's runs
    workgroupBarrier(); // before the next tile writes the links again
  }
}
