// Copies rows by index, bit for bit. Rows without a valid index come from a fallback:
// gathered[b, h, m] = source[b, h, index[b, m]], or fallback[b, h, m] if the index is `source_rows` or more (this includes NONE).
//
// source:   [batch, heads, source_rows, width] elem
// index:    [batch, rows] u32, or [rows] for all of the batch (index_stride 0)
// fallback: [batch, heads, rows, width] elem
// gathered: [batch, heads, rows, width] elem
//
// 2^`lanes_log2` invocations move a row, each 16, 4 or 2 bytes at a time. They compute the row's address once for several moves.
// Cost: one dispatch; one row read and one written for each gathered row.

// Where a row is read and written. `read` is in the source or in the fallback.
struct Row {
  read: u32,
  write: u32,
  found: bool,
}

fn fetch(row: Row, column: u32) -> elem {
  let at = row.read + column;
  if row.found { return source[at]; }
  return fallback[at];
}

fn put(row: Row, column: u32, value: elem) {
  gathered[row.write + column] = value;
}

@compute @workgroup_size(128)
fn main(grid: Grid, lane: Lane) {
  let lanes = 1u << params.lanes_log2;
  let number = linear_group(grid) * (128u >> params.lanes_log2) + (lane.index >> params.lanes_log2);
  if number < params.all_rows {
    let head = number / params.rows; // of the whole batch
    let m = number - head * params.rows;
    let token = index[params.index_base + head / params.heads * params.index_stride + m];
    let found = token < params.source_rows;
    var read = params.fallback_base + number * params.width;
    if found { read = params.source_base + (head * params.source_rows + token) * params.width; }
    let row = Row(read, params.gathered_base + number * params.width, found);
    move_row(row, lane.index & (lanes - 1u), params.width, lanes);
  }
}
