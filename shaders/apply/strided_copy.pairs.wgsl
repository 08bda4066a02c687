// Copies a strided tensor of 16-bit numbers into a dense one, two numbers to a word.
//
// source: numbers of 16 bits, apart (strided_copy.wgsl)
// copied: [elements] numbers of 16 bits
//
// An invocation writes one word. A number beside the tensor in its first or last word stays.
//
// Cost: one read and one write of each number.

fn short_number(i: u32) -> u32 {
  return source_half(params.source_base + strided_place(i));
}

@compute @workgroup_size(128)
fn main(grid: Grid, lane: Lane) {
  write_pair(linear_group(grid) * 128u + lane.index);
}
