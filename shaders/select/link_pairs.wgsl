// Pairs of tokens from lists, as bits.
//
//   bit j of pairs[i] = 1 if some entry e has {from_list[e], to_list[e]} = {i, j}; for i != j, both live
//
// from_list, to_list: [B, E] u32; entries of which one is no live token are skipped
// lengths:  [B] u32; tokens from it on are dead
// pairs:    [B, N, ceil(N / 32)] u32; bit j % 32 of word j / 32
//
// CLEAR 1 writes zeros, CLEAR 0 then sets the bits. An entry that comes again changes nothing, so their order does not matter.
//
// Cost: two dispatches; one write of the pairs, one read of the lists.

override CLEAR: u32;

@compute @workgroup_size(128)
fn main(grid: Grid, lane: Lane) {
  let id = linear_group(grid) * 128u + lane.index;
  if id >= params.total { return; }
  if CLEAR == 1u {
    atomicStore(&pairs[params.pairs_base + id], 0u);
    return;
  }
  let batch = id / params.entries;
  let live = min(lengths[params.lengths_base + batch], params.tokens);
  let i = from_list[params.from_list_base + id];
  let j = to_list[params.to_list_base + id];
  if i >= live || j >= live || i == j { return; }
  let words = (params.tokens + 31u) / 32u;
  let first = params.pairs_base + batch * params.tokens * words;
  atomicOr(&pairs[first + i * words + j / 32u], 1u << (j % 32u));
  atomicOr(&pairs[first + j * words + i / 32u], 1u << (i % 32u));
}
