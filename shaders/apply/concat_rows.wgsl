// Joins two ragged batches: row b holds a's live tokens, then b's live tokens, then `empty`.
//
// first:          [batch, first_rows, width] elem
// first_lengths:  [batch] u32, clamped to first_rows
// second:         [batch, second_rows, width] elem
// second_lengths: [batch] u32, clamped to second_rows
// joined:         [batch, first_rows + second_rows, width] elem
// lengths:        [batch] u32, the sums
//
// 2^`lanes_log2` invocations move a row, each 16, 4 or 2 bytes at a time. They compute the row's address once for several moves.
// Cost: one dispatch; one read of the live tokens, one write of the output.

fn first_length(batch: u32) -> u32 {
  return min(first_lengths[params.first_lengths_base + batch], params.first_rows);
}

fn second_length(batch: u32) -> u32 {
  return min(second_lengths[params.second_lengths_base + batch], params.second_rows);
}

// Where a row is read, in the first batch or the second, and where it is written.
struct Row {
  read: u32,
  write: u32,
  of_first: bool,
  live: bool,
}

fn fetch(row: Row, column: u32) -> elem {
  let at = row.read + column;
  var value = elem(params.empty);
  if row.of_first {
    value = first[at];
  } else if row.live {
    value = second[at];
  }
  return value;
}

fn put(row: Row, column: u32, value: elem) {
  joined[row.write + column] = value;
}

@compute @workgroup_size(128)
fn main(grid: Grid, lane: Lane) {
  let i = linear_group(grid) * 128u + lane.index;
  if i < params.batch {
    lengths[params.lengths_base + i] = first_length(i) + second_length(i);
  }
  let lanes = 1u << params.lanes_log2;
  let number = i >> params.lanes_log2;
  if number < params.all_rows {
    let rows = params.first_rows + params.second_rows;
    let batch = number / rows;
    let token = number - batch * rows;
    let before = first_length(batch);
    let of_first = token < before;
    var read = params.second_base + (batch * params.second_rows + token - before) * params.width;
    if of_first { read = params.first_base + (batch * params.first_rows + token) * params.width; }
    let row = Row(read, params.joined_base + number * params.width, of_first, token - before < second_length(batch));
    var column = lane.index & (lanes - 1u);
    if AHEAD == 4u {
      for (; column + 3u * lanes < params.width; column += 4u * lanes) {
        let at = vec4<u32>(row.read + column) + vec4<u32>(0u, 1u, 2u, 3u) * lanes;
        var value = elem(params.empty);
        var next = value;
        var third = value;
        var fourth = value;
        // One branch for all four: no load waits for another.
        if row.of_first {
          value = first[at.x];
          next = first[at.y];
          third = first[at.z];
          fourth = first[at.w];
        } else if row.live {
          value = second[at.x];
          next = second[at.y];
          third = second[at.z];
          fourth = second[at.w];
        }
        put(row, column, value);
        put(row, column + lanes, next);
        put(row, column + 2u * lanes, third);
        put(row, column + 3u * lanes, fourth);
      }
    }
    for (; column < params.width; column += lanes) {
      put(row, column, fetch(row, column));
    }
  }
}
