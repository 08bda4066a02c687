// Copies a strided tensor of 16-bit numbers into a dense one, two numbers to a word.
//
// source: numbers of 16 bits, apart (strided_copy.wgsl)
// copied: [elements] numbers of 16 bits
//
// An invocation writes one word. A number beside the tensor in its first or last word stays.
//
// Cost: one read and one write of each number.

fn number(i: u32) -> u32 {
  let place = params.source_base + strided_place(i);
  return (source[place / 2u] >> (16u * (place & 1u))) & 0xffffu;
}

@compute @workgroup_size(128)
fn main(grid: Grid, lane: Lane) {
  let pair = linear_group(grid) * 128u + lane.index;
  let skipped = params.copied_base & 1u; // a number in front of the tensor
  if 2u * pair >= params.elements + skipped { return; }
  let at = params.copied_base / 2u + pair;
  let second = 2u * pair + 1u - skipped;
  let has_first = 2u * pair >= skipped;
  let has_second = second < params.elements;
  var word = 0u;
  if !(has_first && has_second) { word = copied[at]; }
  if has_first { word = (word & 0xffff0000u) | number(2u * pair - skipped); }
  if has_second { word = (word & 0xffffu) | (number(second) << 16u); }
  copied[at] = word;
}
