// The index of each row's largest value, with a deliberate mistake: of equal values the highest index wins, where
// the crate's order says the lowest. The parity tier must notice.
//
// x:     [rows, columns] elem
// index: [rows] u32

@compute @workgroup_size(64)
fn main(grid: Grid, lane: Lane) {
  let row = linear_group(grid) * 64u + lane.index;
  if row >= params.rows {
    return;
  }
  var best = 0u;
  var best_key = 0u;
  for (var i = 0u; i < params.columns; i++) {
    let key = order_key(f32(x[params.x_base + row * params.columns + i]));
    if key >= best_key { // the mistake: > would be right
      best = i;
      best_key = key;
    }
  }
  index[params.index_base + row] = best;
}
