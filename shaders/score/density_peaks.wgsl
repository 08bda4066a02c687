// How far tokens are from denser ones, and how much they stand out as centres of clusters.
//
//   separation_i = min over denser j of distance_ij / sqrt(channels), or the largest of all distances in the batch row for those
//                  that nothing is denser than
//   score_i      = density_i separation_i
//
// distances:  [B, N, 2] f32: square of the nearest denser token's, or -1; square of the farthest's
// density:    [B, N] f32
// lengths:    [B] u32
// separation: [B, N] f32
// score:      [B, N] f32
//
// Tokens that are not alive give 0. A team of LANES invocations has as many tokens of a batch row, and looks at the distances of all: 128, or
// one where rows are short. A workgroup has as many teams as fit, of whatever batch rows.

override LANES: u32 = 128u; // of a team
var<workgroup> farthest_of_lane: array<f32, 128>;

@compute @workgroup_size(128)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  lane: Lane,
) {
  let first_tile = linear_group(group, groups) * (128u / LANES);
  if first_tile >= params.tiles { return; }
  let tile = first_tile + lane.index / LANES;
  let in_team = lane.index % LANES;
  let tiles_of_row = (params.tokens + LANES - 1u) / LANES;
  let batch = min(tile, params.tiles - 1u) / tiles_of_row;
  let first = batch * params.tokens;
  let token = (tile - batch * tiles_of_row) * LANES + in_team;
  let live = min(lengths[params.lengths_base + batch], params.tokens);

  var farthest = 0.0;
  for (var i = in_team; i < live; i += LANES) {
    farthest = max(farthest, distances[params.distances_base + 2u * (first + i) + 1u]);
  }
  farthest_of_lane[lane.index] = farthest;
  workgroupBarrier();
  for (var i = 0u; i < LANES; i++) {
    farthest = max(farthest, farthest_of_lane[lane.index - in_team + i]);
  }

  if tile < params.tiles && token < params.tokens {
    var value = 0.0;
    var result = 0.0;
    if token < live {
      let nearest = distances[params.distances_base + 2u * (first + token)];
      value = sqrt(select(nearest, farthest, nearest < 0.0)) / sqrt(params.channels);
      result = density[params.density_base + first + token] * value;
    }
    separation[params.separation_base + first + token] = value;
    score[params.score_base + first + token] = result;
  }
}
