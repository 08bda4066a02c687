// The moves of an invocation: every `lanes`-th column of a row, from `first` on and below `end`. Included after ahead. The including shader
// declares
//
//   struct Row                                       what locates a row
//   fn fetch(row: Row, column: u32) -> ...           what a move reads
//   fn put(row: Row, column: u32, value: ...)        and what it writes of it
//
// The last moves have a loop of their own: a load behind a condition waits for the load before it.
fn move_row(row: Row, first: u32, end: u32, lanes: u32) {
  var column = first;
  if AHEAD == 4u {
    for (; column + 3u * lanes < end; column += 4u * lanes) {
      let value = fetch(row, column);
      let second = fetch(row, column + lanes);
      let third = fetch(row, column + 2u * lanes);
      let fourth = fetch(row, column + 3u * lanes);
      put(row, column, value);
      put(row, column + lanes, second);
      put(row, column + 2u * lanes, third);
      put(row, column + 3u * lanes, fourth);
    }
  }
  for (; column < end; column += lanes) {
    put(row, column, fetch(row, column));
  }
}

