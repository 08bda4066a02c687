// First pass over long rows: turns scores into integer keys, and counts the first digits of each chunk.
//
// scores:  [rows, tokens] elem
// lengths: [rows / rows_per_length] u32, live tokens of a row
// counts:  [rows / rows_per_count] u32, how many to select, at most k
// marks:   [tokens] or [rows, tokens] u32: 1 protected, 2 excluded
// keys:    [rows, tokens] u32, 0 for excluded and dead tokens
// memory:  see parts/digits.wgsl; the row's first two words, and the counts of its first digits, if asked for
//
// Cost: one read of the scores, one write of the keys; one workgroup atomic for each run of equal digits of an invocation.

fn key_of(row: u32, token: u32, live: u32) -> u32 {
  let score = f32(scores[params.scores_base + row * params.tokens + token]);
  var key = order_key(score);
  if params.smallest != 0u {
    key = order_key_smallest(score);
  }
  if params.marked != 0u {
    let mark = marks[params.marks_base + row * params.marks_stride + token];
    key = select(key, KEY_PROTECTED, mark == 1u);
    key = select(key, KEY_DEAD, mark == 2u);
  }
  return select(key, KEY_DEAD, token >= live);
}

@compute @workgroup_size(WG)
fn main(grid: Grid, lane: Lane) {
  let id = linear_group(grid);
  if id >= params.groups { return; }
  let row = id / params.chunks;
  let chunk = id % params.chunks;
  let live = min(lengths[params.lengths_base + row / params.rows_per_length], params.tokens);
  let end = min((chunk + 1u) * params.chunk, params.tokens);
  if params.with_digits != 0u {
    clear_bins(lane);
  }
  var run = Run(NO_DIGIT, 0u);
  for (var token = chunk * params.chunk + lane.index; token < end; token += 4u * WG) {
    // Four loads are under way before the first is needed.
    let four = vec4<u32>(
      key_of(row, token, live),
      key_of(row, min(token + WG, end - 1u), live),
      key_of(row, min(token + 2u * WG, end - 1u), live),
      key_of(row, min(token + 3u * WG, end - 1u), live),
    );
    for (var i = 0u; i < 4u; i++) {
      if token + i * WG >= end { break; }
      keys[params.keys_base + row * params.tokens + token + i * WG] = four[i];
      if params.with_digits != 0u {
        run = longer_run(lane, run, select(four[i] >> 21u, NO_DIGIT, four[i] == KEY_DEAD));
      }
    }
  }
  end_run(lane, run);
  if params.with_digits != 0u {
    store_bins(lane, counts_at(row, chunk, 0u));
  }
  if chunk == 0u && lane.index == 0u {
    memory[row_memory(row) + LIVE] = live;
    memory[row_memory(row) + WANTED] = min(counts[params.counts_base + row / params.rows_per_count], params.k);
  }
}
