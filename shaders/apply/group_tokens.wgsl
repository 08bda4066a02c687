// Turns "where each token went" into "which tokens each output has", with a stable counting sort by parent.
//
// parent:  [B, N] u32; at or above N' (NONE): in no output
// offsets: [B, N' + 1] u32; output p has members[offsets[p] .. offsets[p + 1]]
// members: [B, N] u32, ascending within an output; NONE from offsets[N'] on
//
// One workgroup per batch row. The count of output p starts in offsets[p + 1]. The exclusive scan turns it into the output's start. Placing
// the output's tokens moves it on to the output's end.
// Tokens are placed a tile at a time, in ascending order. A token's place is its output's cursor plus its rank among the tile's tokens of
// that output. The order of the atomics does not change the counts.
//
// Cost: two reads of the parents, one write of the members, N WG comparisons, for every distribution of parents.

const NONE = 0xffffffffu;
var<workgroup> tile: array<u32, WG>;

@compute @workgroup_size(WG)
fn main(grid: Grid, lane: Lane) {
  let batch = linear_group(grid);
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
    // Four a turn, for llvmpipe's sake: it ends all loops after 65,535 turns.
    for (var other = 0u; other < WG; other += 4u) {
      let place_of = vec4<u32>(other, other + 1u, other + 2u, other + 3u);
      let four = vec4<u32>(tile[other], tile[other + 1u], tile[other + 2u], tile[other + 3u]);
      let same = four == vec4<u32>(p);
      let before = select(vec4<u32>(), vec4<u32>(1u), same & (place_of < vec4<u32>(lane.index)));
      rank += before.x + before.y + before.z + before.w;
      is_last = is_last && !any(same & (place_of > vec4<u32>(lane.index)));
    }
    var place = 0u;
    if p < params.outputs {
      place = atomicLoad(&offsets[ends_at + p]) + rank;
      members[members_at + place] = token;
    }
    storageBarrier(); // wait until all have read the cursors
    if p < params.outputs && is_last {
      atomicStore(&offsets[ends_at + p], place + 1u);
    }
    storageBarrier();
    workgroupBarrier(); // before the tile is written again
  }
  for (var i = total + lane.index; i < params.tokens; i += WG) {
    members[members_at + i] = NONE;
  }
}
