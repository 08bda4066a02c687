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

@compute @workgroup_size(128)
fn main(grid: Grid, lane: Lane) {
  let lanes = 1u << params.lanes_log2;
  let row = linear_group(grid) * (128u >> params.lanes_log2) + (lane.index >> params.lanes_log2);
  if row < params.all_rows {
    let head = row / params.rows; // of the whole batch
    let m = row - head * params.rows;
    let token = index[params.index_base + head / params.heads * params.index_stride + m];
    let found = token < params.source_rows;
    let first = lane.index & (lanes - 1u);
    let read = params.source_base + (head * params.source_rows + select(0u, token, found)) * params.width;
    let write = params.gathered_base + row * params.width;
    let fallback_row = params.fallback_base + row * params.width;
    for (var column = first; column < params.width; column += lanes) {
      var value = fallback[fallback_row + column];
      if found { value = source[read + column]; }
      gathered[write + column] = value;
    }
  }
}
