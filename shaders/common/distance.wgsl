// Squared distances between rows. The including shader has the binding `rows`, and `channels` in its params.

// The sum of squared differences of the rows that start at these elements. One invocation sums over ascending channels. Swapping the rows
// gives the same bits.
fn squared_distance(a: u32, b: u32) -> f32 {
  var sum = 0.0;
  for (var c = 0u; c < params.channels; c++) {
    let difference = elem_f32(rows[a + c]) - elem_f32(rows[b + c]);
    sum += elem_dot(difference, difference);
  }
  return sum;
}
