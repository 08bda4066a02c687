// First pass over long rows: turns scores into integer keys, and zeroes all counters of the next passes.
//
// scores:    [rows, tokens] elem
// lengths:   [rows / rows_per_length] u32, live tokens of a row
// counts:    [rows / rows_per_count] u32, how many to select, at most k
// marks:     [tokens] or [rows, tokens] u32: 1 protected, 2 excluded
// keys:      [rows, tokens] u32, 0 for excluded and dead tokens
// histogram: [rows, 4, 256] u32, zeros
// state:     [rows, 12] u32: live tokens, number of wanted tokens; the rest is for the next passes
//
// Cost: one read of the scores, one write of the keys.

fn key_of(row: u32, token: u32, live: u32) -> u32 {
  if token >= live { return KEY_DEAD; }
  if params.marked != 0u {
    let mark = marks[params.marks_base + row * params.marks_stride + token];
    if mark == 1u { return KEY_PROTECTED; }
    if mark == 2u { return KEY_DEAD; }
  }
  let score = f32(scores[params.scores_base + row * params.tokens + token]);
  if params.smallest != 0u { return order_key_smallest(score); }
  return order_key(score);
}

@compute @workgroup_size(256)
fn main(grid: Grid, lane: Lane) {
  let id = linear_group(grid);
  if id >= params.groups { return; }
  let row = id / params.chunks;
  let chunk = id % params.chunks;
  let live = min(lengths[params.lengths_base + row / params.rows_per_length], params.tokens);
  let end = min((chunk + 1u) * params.chunk, params.tokens);
  for (var token = chunk * params.chunk + lane.index; token < end; token += 256u) {
    keys[params.keys_base + row * params.tokens + token] = key_of(row, token, live);
  }
  if chunk == 0u {
    for (var i = lane.index; i < 1024u; i += 256u) {
      histogram[params.histogram_base + row * 1024u + i] = 0u;
    }
    if lane.index == 0u {
      state[params.state_base + row * 12u] = live;
      state[params.state_base + row * 12u + 1u] = min(counts[params.counts_base + row / params.rows_per_count], params.k);
    }
  }
}
