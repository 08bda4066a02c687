// First pass of two: places the destinations. Also counts the unmerged sources, in front of which or between which the
// destinations stand, and clears what the second pass fills.
//
//   unmerged = live sources - selected                      row(j-th live destination) = unmerged + j
//   interleaved: row(first live destination) = 1, so that the output is [unm_0, dst_0, unm_1.., dst_1..]
//
// sources:        [Ns] or [B, Ns] u32, token positions
// destinations:   [Nd] or [B, Nd] u32, token positions
// lengths:        [B] u32; positions at or behind it are dead
// kept:           [B] u32, number of selected sources
// rows:           [B, Nd + 3] u32: output row of each destination, or NONE; then the numbers of unmerged sources, of live
//                 tokens and of live destinations
// parent:         [B, N] u32, output row of each destination; NONE for all other tokens
// representative: [B, N'] u32, the destination of its output row; NONE for all other rows
// lengths_out:    [B] u32, output rows
//
// One workgroup a batch row. Cost: one read of the lists, one write of the outputs.
struct Params {
  sources_base: u32,
  destinations_base: u32,
  lengths_base: u32,
  kept_base: u32,
  rows_base: u32,
  parent_base: u32,
  representative_base: u32,
  lengths_out_base: u32,
  batch: u32,
  tokens: u32,
  outputs: u32,
  source_count: u32,
  destination_count: u32,
  source_stride: u32, // from one batch row's list to the next: 0 or the count
  destination_stride: u32,
  selected_count: u32, // capacity of the selection
  interleave: u32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> sources: array<u32>;
@group(0) @binding(2) var<storage, read> destinations: array<u32>;
@group(0) @binding(3) var<storage, read> lengths: array<u32>;
@group(0) @binding(4) var<storage, read> kept: array<u32>;
@group(0) @binding(5) var<storage, read_write> rows: array<u32>;
@group(0) @binding(6) var<storage, read_write> parent: array<u32>;
@group(0) @binding(7) var<storage, read_write> representative: array<u32>;
@group(0) @binding(8) var<storage, read_write> lengths_out: array<u32>;

const NONE = 0xffffffffu;

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  lane: Lane,
) {
  let batch = linear_group(group, groups);
  if batch >= params.batch { return; }
  let parent_at = params.parent_base + batch * params.tokens;
  let representative_at = params.representative_base + batch * params.outputs;
  let rows_at = params.rows_base + batch * (params.destination_count + 3u);
  let live = min(lengths[params.lengths_base + batch], params.tokens);

  for (var i = lane.index; i < params.tokens; i += WG) {
    parent[parent_at + i] = NONE;
  }
  for (var i = lane.index; i < params.outputs; i += WG) {
    representative[representative_at + i] = NONE;
  }
  storageBarrier(); // other invocations write there below

  var count = 0u;
  for (var i = lane.index; i < params.source_count; i += WG) {
    count += select(0u, 1u, sources[params.sources_base + batch * params.source_stride + i] < live);
  }
  let live_sources = reduce_add_u32(lane, count);
  let unmerged = live_sources - min(min(kept[params.kept_base + batch], params.selected_count), live_sources);

  var placed = 0u;
  for (var first = 0u; first < params.destination_count; first += WG) {
    let i = first + scan_rank(lane);
    var token = NONE;
    if i < params.destination_count {
      token = destinations[params.destinations_base + batch * params.destination_stride + i];
    }
    let is_live = token < live;
    let scan = scan_add(lane, select(0u, 1u, is_live));
    let rank = placed + scan.before;
    placed += scan.total;
    var row = unmerged + rank;
    if params.interleave != 0u && rank == 0u {
      row = min(unmerged, 1u);
    }
    let has_row = is_live && row < params.outputs;
    if has_row {
      parent[parent_at + token] = row;
      representative[representative_at + row] = token;
    }
    if i < params.destination_count {
      rows[rows_at + i] = select(NONE, row, has_row);
    }
  }
  if lane.index == 0u {
    rows[rows_at + params.destination_count] = unmerged;
    rows[rows_at + params.destination_count + 1u] = live;
    rows[rows_at + params.destination_count + 2u] = placed;
    lengths_out[params.lengths_out_base + batch] = min(unmerged + placed, params.outputs);
  }
}
