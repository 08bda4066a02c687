// First pass over long rows: counts the set flags of each chunk.
//
// flags:   [rows, tokens] u32, anything but 0 is set
// lengths: [rows] u32, live tokens of a row
// tallies: [rows, chunks] u32
//
// Cost: one read of the flags.

@compute @workgroup_size(WG)
fn main(grid: Grid, lane: Lane) {
  let id = linear_group(grid);
  if id >= params.groups { return; }
  let row = id / params.chunks;
  let begin = (id % params.chunks) * params.chunk;
  let live = min(lengths[params.lengths_base + row], params.tokens);
  var number = 0u;
  for (var token = begin + lane.index; token < min(begin + params.chunk, live); token += WG) {
    number += select(0u, 1u, flags[params.flags_base + row * params.tokens + token] != 0u);
  }
  number = reduce_add_u32(lane, number);
  if lane.index == 0u {
    tallies[params.tallies_base + id] = number;
  }
}
