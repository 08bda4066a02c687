// Prefix sum and compaction for rows of at most 64 tokens. Each invocation takes one token, and counts the set flags before it.
//
// flags:   [rows, tokens] u32, anything but 0 is set
// lengths: [rows] u32, live tokens of a row
// indices: [rows, tokens] u32, NONE after the last
// counts:  [rows] u32
// ranks:   [rows, tokens] u32, NONE where the flag is not set
//
// A token whose flag is not set writes one NONE after the list. Its place there follows from the number of such tokens before it. So every
// place is written once.
//
// Cost: all tokens of a row read each of its flags, from cache; one write of each output.

const NONE = 0xffffffffu;

@compute @workgroup_size(128)
fn main(grid: Grid, lane: Lane) {
  let width = max(params.tokens, 1u); // a row without tokens still has a count
  let id = linear_group(grid) * 128u + lane.index;
  let row = id / width;
  let token = id % width;
  if row >= params.rows { return; }
  let at = row * params.tokens;
  let live = min(lengths[params.lengths_base + row], params.tokens);

  var before = 0u;
  var total = 0u;
  var keeps = false;
  for (var i = 0u; i < live; i++) {
    let is_set = flags[params.flags_base + at + i] != 0u;
    before += select(0u, 1u, is_set && i < token);
    total += select(0u, 1u, is_set);
    keeps = keeps || (is_set && i == token);
  }
  if token == 0u {
    counts[params.counts_base + row] = total;
  }
  if token >= params.tokens { return; }
  let place = select(total + token - before, before, keeps);
  indices[params.indices_base + at + place] = select(NONE, token, keeps);
  ranks[params.ranks_base + at + token] = select(NONE, before, keeps);
}
