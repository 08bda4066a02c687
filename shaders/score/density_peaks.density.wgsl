// The local density around each token.
//
//   density_i = exp(-mean_k distance_ik^2 / channels)      over the nearest neighbours that exist
//
// indices:   [R, K] u32, NONE after the last
// distances: [R, K] f32, to the K nearest tokens
// density:   [R] f32
//
// A token without neighbours has density 0. A token with a neighbour at a distance that is not finite has NaN.
//
// Cost: one read of the distances.

const NONE = 0xffffffffu;

@compute @workgroup_size(128)
fn main(grid: Grid, lane: Lane) {
  let row = linear_group(grid) * 128u + lane.index;
  if row >= params.rows { return; }
  var sum = 0.0;
  var count = 0u;
  var finite = true;
  for (var k = 0u; k < params.nearest; k++) {
    if indices[params.indices_base + row * params.nearest + k] != NONE {
      let distance = distances[params.distances_base + row * params.nearest + k];
      finite = finite && is_finite(distance);
      sum += distance * distance;
      count++;
    }
  }
  var result = 0.0;
  if !finite {
    result = make_nan();
  } else if count > 0u {
    result = exp(-(sum / f32(count)) / params.channels);
  }
  density[params.density_base + row] = result;
}
