// Second pass of two: selected sources go where their partners went, unmerged ones to rows of their own.
//
//   parent[selected source] = row of its partner         parent[k-th unmerged source] = k
//   interleaved: parent[k-th unmerged source] = k + 1 for k > 0, if there is a destination to stand at row 1
//
// sources:        [Ns] or [B, Ns] u32, token positions
// partner:        [B, Ns] u32, index of each source's destination, or NONE
// selected:       [B, R] u32, indices of sources; NONE behind
// unmerged:       [B, U] u32, indices of sources; NONE behind
// rows:           [B, Nd + 3] u32, from the first pass
// parent:         [B, N] u32
// representative: [B, N'] u32
//
// Cost: one read of the lists, one write for each of their entries.
struct Params {
  sources_base: u32,
  partner_base: u32,
  selected_base: u32,
  unmerged_base: u32,
  rows_base: u32,
  parent_base: u32,
  representative_base: u32,
  entries: u32, // (R + U) in the whole batch
  tokens: u32,
  outputs: u32,
  source_count: u32,
  destination_count: u32,
  source_stride: u32,
  selected_count: u32,
  unmerged_count: u32,
  interleave: u32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> sources: array<u32>;
@group(0) @binding(2) var<storage, read> partner: array<u32>;
@group(0) @binding(3) var<storage, read> selected: array<u32>;
@group(0) @binding(4) var<storage, read> unmerged: array<u32>;
@group(0) @binding(5) var<storage, read> rows: array<u32>;
@group(0) @binding(6) var<storage, read_write> parent: array<u32>;
@group(0) @binding(7) var<storage, read_write> representative: array<u32>;

const NONE = 0xffffffffu;

@compute @workgroup_size(128)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  lane: Lane,
) {
  let entry = linear_group(group, groups) * 128u + lane.index;
  if entry >= params.entries { return; }
  let per_row = params.selected_count + params.unmerged_count;
  let batch = entry / per_row;
  let k = entry % per_row;
  let is_selected = k < params.selected_count;
  let rank = k - params.selected_count; // among the unmerged
  let rows_at = params.rows_base + batch * (params.destination_count + 3u);
  let unmerged_rows = rows[rows_at + params.destination_count];
  let live = rows[rows_at + params.destination_count + 1u];
  let has_destinations = rows[rows_at + params.destination_count + 2u] > 0u;

  var source = NONE;
  if is_selected {
    source = selected[params.selected_base + batch * params.selected_count + k];
  } else if rank < unmerged_rows {
    source = unmerged[params.unmerged_base + batch * params.unmerged_count + rank];
  }
  if source >= params.source_count { return; }
  let token = sources[params.sources_base + batch * params.source_stride + source];
  if token >= live { return; }

  var row = rank;
  if is_selected {
    row = NONE;
    let destination = partner[params.partner_base + batch * params.source_count + source];
    if destination < params.destination_count {
      row = rows[rows_at + destination];
    }
  } else if params.interleave != 0u && rank > 0u && has_destinations {
    row = rank + 1u;
  }
  if row >= params.outputs { return; }
  parent[params.parent_base + batch * params.tokens + token] = row;
  if !is_selected {
    representative[params.representative_base + batch * params.outputs + row] = token;
  }
}
