// Turns "where each token went" into "which tokens each output has": a stable counting sort by parent.
//
// parent:  [B, N] u32; at or above N' (NONE): of no output
// offsets: [B, N' + 1] u32; output p has members[offsets[p] .. offsets[p + 1]]
// members: [B, N] u32, ascending within an output; NONE behind offsets[N']
//
// One workgroup a batch row. A count is kept at the output's end, offsets[p + 1]; the exclusive scan turns it into the output's
// start, and placing the output's tokens moves it to the end again. Tokens are placed a tile at a time, in ascending
// order: a token's place is its output's cursor and its rank among the tile's tokens of the same output. Counts do not depend
// on the order of the atomics.
//
// Cost: two reads of the parents, one write of the members, N WG comparisons; no more for any distribution.

const NONE = 0xffffffffu;
var<workgroup> tile: array<u32, WG>;

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  lane: Lane,
) {
  let batch = linear_group(group, groups);
  if batch >= params.batch { return; }
  let tokens_at = params.parent_base + batch * params.tokens;
  let members_at = params.members_base + batch * params.tokens;
  let offsets_at = params.offsets_base + batch * (params.outputs + 1u);
  let ends_at = offsets_at + 1u;

  for (var p = lane.index; p <= params.outputs; p += WG) {
    atomicStore(&offsets[offsets_at + p], 0u);
  }
  storageBarrier();
  for (var token = lane.index; token < params.tokens; token += WG) {
    let p = parent[tokens_at + token];
    if p < params.outputs {
      atomicAdd(&offsets[ends_at + p], 1u);
    }
  }
  storageBarrier();

  var total = 0u;
  for (var first = 0u; first < params.outputs; first += WG) {
    let p = first + scan_rank(lane);
    var count = 0u;
    if p < params.outputs {
      count = atomicLoad(&offsets[ends_at + p]);
    }
    let scan = scan_add(lane, count);
    if p < params.outputs {
      atomicStore(&offsets[ends_at + p], total + scan.before);
    }
    total += scan.total;
  }
  storageBarrier();

  for (var first = 0u; first < params.tokens; first += WG) {
    let token = first + lane.index;
    var p = NONE;
    if token < params.tokens {
      p = parent[tokens_at + token];
    }
    tile[lane.index] = p;
    workgroupBarrier();
    var rank = 0u;
    var is_last = true;
    for (var other = 0u; other < WG; other++) {
      let same = tile[other] == p;
      rank += select(0u, 1u, same && other < lane.index);
      is_last = is_last && !(same && other > lane.index);
    }
    var place = 0u;
    if p < params.outputs {
      place = atomicLoad(&offsets[ends_at + p]) + rank;
      members[members_at + place] = token;
    }
    storageBarrier(); // all have read the cursors
    if p < params.outputs && is_last {
      atomicStore(&offsets[ends_at + p], place + 1u);
    }
    storageBarrier();
    workgroupBarrier(); // the tile is written again
  }
  for (var i = total + lane.index; i < params.tokens; i += WG) {
    members[members_at + i] = NONE;
  }
}
