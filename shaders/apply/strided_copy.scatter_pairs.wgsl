// Copies a dense tensor of 16-bit numbers into a strided one, two numbers to a word.
//
// source: [elements] numbers of 16 bits
// copied: numbers of 16 bits, apart (strided_copy.wgsl)
//
// An invocation writes one number. Another may write the other half of its word, or nobody: so each clears and sets its own bits.
//
// Cost: one read and two atomic operations for each number.

@compute @workgroup_size(128)
fn main(grid: Grid, lane: Lane) {
  let i = linear_group(grid) * 128u + lane.index;
  if i >= params.elements { return; }
  let place = params.source_base + i;
  let number = (source[place / 2u] >> (16u * (place & 1u))) & 0xffffu;
  let to = params.copied_base + strided_place(i);
  let shift = 16u * (to & 1u);
  atomicAnd(&copied[to / 2u], ~(0xffffu << shift));
  atomicOr(&copied[to / 2u], number << shift);
}
