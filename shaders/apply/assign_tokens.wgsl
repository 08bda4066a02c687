// Turns a match into a map of tokens. The unmerged sources come first, then the destinations. Every other source goes where its partner
// goes.
//
//   parent[k-th unmerged source] = k           parent[j-th live destination] = unmerged + j
//   parent[any other live source] = parent of its partner
//   interleaved: the first live destination moves to row 1, so the output is [unm_0, dst_0, unm_1.., dst_1..]
//
// sources:        [Ns] or [B, Ns] u32, token positions
// destinations:   [Nd] or [B, Nd] u32, token positions
// lengths:        [B] u32; positions from it on are dead
// partner:        [B, Ns] u32, index of each source's destination, or NONE
// unmerged:       [B, U] u32, indices of sources; then NONE
// parent:         [B, N] u32, output row of each token, or NONE
// representative: [B, N'] u32, the unmerged source or the destination of each row; then NONE
// lengths_out:    [B] u32, output rows
//
// No list makes the result depend on the order of the invocations. A token that is listed several times takes its lowest row as a
// destination. If it has none, it takes its lowest row as an unmerged source, and otherwise merges. Let n be the number of entries of
// `unmerged` that are not NONE: entries from the n-th on do not count.
// During the pass, the two leading bits of `parent` say what kind of row it holds.
//
// One workgroup per batch row, or one invocation for a short row. Cost: one read of the lists, two of the destinations, two passes over
// `parent`.

const NONE = 0xffffffffu;
const ROW = 0x3fffffffu; // bits of a row; all of them set: no such row
const UNMERGED = 0x40000000u;
const MERGES = 0x80000000u;

@compute @workgroup_size(GROUP)
fn main(grid: Grid, lane: Lane) {
  let batch = team_row(grid, lane);
  if batch >= params.batch { return; }
  let sources_at = params.sources_base + batch * params.source_stride;
  let destinations_at = params.destinations_base + batch * params.destination_stride;
  let partner_at = params.partner_base + batch * params.source_count;
  let unmerged_at = params.unmerged_base + batch * params.unmerged_count;
  let parent_at = params.parent_base + batch * params.tokens;
  let representative_at = params.representative_base + batch * params.outputs;
  let live = min(lengths[params.lengths_base + batch], params.tokens);

  var count = 0u;
  for (var k = team_lane(lane); k < params.unmerged_count; k += TEAM) {
    count += select(0u, 1u, unmerged[unmerged_at + k] != NONE);
  }
  let stay = reduce_add_u32(lane, count);
  for (var i = team_lane(lane); i < params.tokens; i += TEAM) {
    atomicStore(&parent[parent_at + i], NONE);
  }
  for (var i = team_lane(lane); i < params.outputs; i += TEAM) {
    representative[representative_at + i] = NONE;
  }
  team_storage_barrier(); // other invocations write there below

  var placed = 0u;
  for (var first = 0u; first < params.destination_count; first += TEAM) {
    let i = first + scan_rank(lane);
    var token = NONE;
    if i < params.destination_count {
      token = destinations[destinations_at + i];
    }
    let is_live = token < live;
    let scan = scan_add(lane, select(0u, 1u, is_live));
    let rank = placed + scan.before;
    placed += scan.total;
    var row = stay + rank;
    if params.interleave != 0u && rank == 0u {
      row = min(stay, 1u);
    }
    if is_live {
      let has_row = row < params.outputs;
      atomicMin(&parent[parent_at + token], select(ROW, row, has_row));
      if has_row {
        representative[representative_at + row] = token;
      }
    }
  }
  team_storage_barrier(); // all destinations have their rows

  for (var i = team_lane(lane); i < params.source_count; i += TEAM) {
    let token = sources[sources_at + i];
    let goal = partner[partner_at + i];
    if token < live && goal < params.destination_count {
      let destination = destinations[destinations_at + goal];
      if destination < live {
        let row = atomicLoad(&parent[parent_at + destination]);
        atomicMin(&parent[parent_at + token], select(MERGES | row, NONE, row == ROW));
      }
    }
  }
  let shift = select(0u, 1u, params.interleave != 0u && placed > 0u);
  for (var k = team_lane(lane); k < min(params.unmerged_count, stay); k += TEAM) {
    let source = unmerged[unmerged_at + k];
    if source >= params.source_count { continue; }
    let token = sources[sources_at + source];
    if token >= live { continue; }
    let row = k + min(k, shift);
    let has_row = row < params.outputs;
    atomicMin(&parent[parent_at + token], UNMERGED | select(ROW, row, has_row));
    if has_row {
      representative[representative_at + row] = token;
    }
  }
  team_storage_barrier(); // all have been offered their rows
  for (var i = team_lane(lane); i < params.tokens; i += TEAM) {
    let row = atomicLoad(&parent[parent_at + i]) & ROW;
    atomicStore(&parent[parent_at + i], select(row, NONE, row == ROW));
  }
  if team_lane(lane) == 0u {
    lengths_out[params.lengths_out_base + batch] = min(stay + placed, params.outputs);
  }
}
