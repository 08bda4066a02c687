// For every token of a short row, the squared distance to the nearest denser token, and to the farthest token of all. This is
// density_peaks.rows with one invocation per token.
//
// rows:      [B, N, C] elem, four channels per elem where C is a multiple of 4
// density:   [B, N] f32
// lengths:   [B] u32; tokens from it on are dead
// distances: [B, N, 2] f32: to the nearest denser token, or -1 if there is none; to the farthest token
//
// NaN is the lowest density. Distances that are not finite do not count.
//
// Cost: 3 N^2 C operations. No barriers.

@compute @workgroup_size(64)
fn main(grid: Grid, lane: Lane) {
  let row = linear_group(grid) * 64u + lane.index;
  if row >= params.tiles { return; }
  let batch = row / params.tokens;
  let first = batch * params.tokens;
  let live = min(lengths[params.lengths_base + batch], params.tokens);

  var nearest = -1.0;
  var farthest = 0.0;
  if row - first < live {
    let own = order_key(density[params.density_base + row]);
    for (var other = first; other < first + live; other++) {
      let distance = squared_distance(params.rows_base + row * params.channels, params.rows_base + other * params.channels);
      if is_finite(distance) {
        farthest = max(farthest, distance);
        if order_key(density[params.density_base + other]) > own && (nearest < 0.0 || distance < nearest) {
          nearest = distance;
        }
      }
    }
  }
  distances[params.distances_base + 2u * row] = nearest;
  distances[params.distances_base + 2u * row + 1u] = farthest;
}
