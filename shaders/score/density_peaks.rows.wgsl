// For every token, the squared distance to the nearest denser token, and to the farthest token of all.
//
// rows:      [B, N, C] elem, four channels per elem where C is a multiple of 4
// density:   [B, N] f32
// lengths:   [B] u32; tokens from it on are dead
// distances: [B, N, 2] f32: to the nearest denser token, or -1 if there is none; to the farthest token
//
// NaN is the lowest density. Distances that are not finite do not count.
//
// Cost: 3 N^2 C operations. Each token has LANES lanes that walk over the other tokens: 32 lanes, or one if rows are short. A workgroup has
// as many tokens as fit, from any batch rows.

override LANES: u32 = 32u; // per token
var<workgroup> nearest_of_lane: array<f32, 128>;
var<workgroup> farthest_of_lane: array<f32, 128>;

@compute @workgroup_size(128)
fn main(grid: Grid, lane: Lane) {
  let first_of_group = linear_group(grid) * (128u / LANES);
  if first_of_group >= params.rows { return; }
  let row = first_of_group + lane.index / LANES;
  let batch = min(row, params.rows - 1u) / params.tokens;
  let token = row - batch * params.tokens;
  let in_team = lane.index % LANES;
  let live = min(lengths[params.lengths_base + batch], params.tokens);
  let first = batch * params.tokens;

  var nearest = -1.0;
  var farthest = 0.0;
  if token < live {
    let own = order_key(density[params.density_base + first + token]);
    for (var other = in_team; other < live; other += LANES) {
      let a = params.rows_base + (first + token) * params.channels;
      let distance = squared_distance(a, params.rows_base + (first + other) * params.channels);
      if is_finite(distance) {
        farthest = max(farthest, distance);
        if order_key(density[params.density_base + first + other]) > own && (nearest < 0.0 || distance < nearest) {
          nearest = distance;
        }
      }
    }
  }
  nearest_of_lane[lane.index] = nearest;
  farthest_of_lane[lane.index] = farthest;
  workgroupBarrier();
  if in_team == 0u && row < params.rows {
    for (var i = 1u; i < LANES; i++) {
      let other = nearest_of_lane[lane.index + i];
      nearest = select(nearest, other, other >= 0.0 && (nearest < 0.0 || other < nearest));
      farthest = max(farthest, farthest_of_lane[lane.index + i]);
    }
    let output = params.distances_base + 2u * row;
    distances[output] = nearest;
    distances[output + 1u] = farthest;
  }
}
