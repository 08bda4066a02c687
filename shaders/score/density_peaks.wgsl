// How far tokens are from denser tokens, and how well they serve as cluster centres.
//
//   separation_i = min over denser j of distance_ij / sqrt(channels); if no token is denser, the largest distance in the batch row
//                  takes the place of the minimum
//   score_i      = density_i separation_i
//
// distances:  [B, N, 2] f32: squared distance to the nearest denser token, or -1; squared distance to the farthest token
// density:    [B, N] f32
// lengths:    [B] u32
// separation: [B, N] f32
// score:      [B, N] f32
//
// Dead tokens give 0. A team of LANES invocations has as many tokens of one batch row, and reads the distances of the whole row. LANES is
// 128, or 1 if rows are short. A workgroup has as many teams as fit, from any batch rows.

override LANES: u32 = 128u; // invocations of a team
var<workgroup> farthest_of_lane: array<f32, 128>;

@compute @workgroup_size(128)
fn main(grid: Grid, lane: Lane) {
  let first_tile = linear_group(grid) * (128u / LANES);
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
