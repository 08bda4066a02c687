// Joins two ragged batches: row b holds a's live tokens, then b's live tokens, then `empty`.
//
// first:          [batch, first_rows, width] elem
// first_lengths:  [batch] u32, clamped to first_rows
// second:         [batch, second_rows, width] elem
// second_lengths: [batch] u32, clamped to second_rows
// joined:         [batch, first_rows + second_rows, width] elem
// lengths:        [batch] u32, the sums
//
// An invocation moves one elem of 16, 4 or 2 bytes.
// Cost: one dispatch; one read of the live tokens, one write of the output.

fn first_length(batch: u32) -> u32 {
  return min(first_lengths[params.first_lengths_base + batch], params.first_rows);
}

fn second_length(batch: u32) -> u32 {
  return min(second_lengths[params.second_lengths_base + batch], params.second_rows);
}

@compute @workgroup_size(128)
fn main(grid: Grid, lane: Lane) {
  let i = linear_group(grid) * 128u + lane.index;
  if i < params.batch {
    lengths[params.lengths_base + i] = first_length(i) + second_length(i);
  }
  if i < params.elements {
    let rows = params.first_rows + params.second_rows;
    let row = i / params.width;
    let column = i - row * params.width;
    let batch = row / rows;
    let token = row - batch * rows;
    let before = first_length(batch);
    var value = elem(params.empty);
    if token < before {
      value = first[params.first_base + (batch * params.first_rows + token) * params.width + column];
    } else if token - before < second_length(batch) {
      value = second[params.second_base + (batch * params.second_rows + token - before) * params.width + column];
    }
    joined[params.joined_base + i] = value;
  }
}
