// Numbers of 16 bits, two to a word: `source` and `copied` are words whose bases count numbers.

// The number at a place of `source`.
fn source_half(place: u32) -> u32 {
  return (source[place / 2u] >> (16u * (place & 1u))) & 0xffffu;
}

// Writes a word of `copied` with the elements that lie in it: short_number(i), which the file has, for element i. A number in front of the
// tensor or after it, in its first or last word, stays.
fn write_pair(pair: u32) {
  let skipped = params.copied_base & 1u;
  if 2u * pair >= params.elements + skipped { return; }
  let at = params.copied_base / 2u + pair;
  let second = 2u * pair + 1u - skipped;
  let has_first = 2u * pair >= skipped;
  let has_second = second < params.elements;
  var word = 0u;
  if !(has_first && has_second) { word = copied[at]; }
  if has_first { word = (word & 0xffff0000u) | short_number(2u * pair - skipped); }
  if has_second { word = (word & 0xffffu) | (short_number(second) << 16u); }
  copied[at] = word;
}

