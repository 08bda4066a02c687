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
// Tokens that are not alive give 0. A workgroup has 128 tokens of a batch row, and looks at the distances of all.
struct Params {
  distances_base: u32,
  density_base: u32,
  lengths_base: u32,
  separation_base: u32,
  score_base: u32,
  tiles: u32, // of 128 tokens, in the whole batch
  tokens: u32,
  channels: f32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> distances: array<f32>;
@group(0) @binding(2) var<storage, read> density: array<f32>;
@group(0) @binding(3) var<storage, read> lengths: array<u32>;
@group(0) @binding(4) var<storage, read_write> separation: array<f32>;
@group(0) @binding(5) var<storage, read_write> score: array<f32>;

var<workgroup> farthest_of_lane: array<f32, 128>;

@compute @workgroup_size(128)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  lane: Lane,
) {
  let tile = linear_group(group, groups);
  if tile >= params.tiles { return; }
  let tiles_of_row = (params.tokens + 127u) / 128u;
  let batch = tile / tiles_of_row;
  let first = batch * params.tokens;
  let token = tile % tiles_of_row * 128u + lane.index;
  let live = min(lengths[params.lengths_base + batch], params.tokens);

  var farthest = 0.0;
  for (var i = lane.index; i < live; i += 128u) {
    farthest = max(farthest, distances[params.distances_base + 2u * (first + i) + 1u]);
  }
  farthest_of_lane[lane.index] = farthest;
  workgroupBarrier();
  for (var i = 0u; i < 128u; i++) {
    farthest = max(farthest, farthest_of_lane[i]);
  }

  if token < params.tokens {
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
