// Converts numbers from one type to another.
//
//   to a shorter float:  the nearest, ties to even; infinite beyond the range
//   to f32:              exact from a shorter float; the nearest of a whole number, ties to even
//   to u32:              the whole part, and the nearest end of the range beyond it; 0 of NaN
//
// source: [elements] numbers of type FROM, two to a word if they are short
// copied: [elements] numbers of type TO, the same
//
// Works on bits alone, so that no device rounds otherwise or flushes a subnormal number. NaN stays NaN, with its upper bits.
// An invocation writes one word of two short numbers, or two words. A short number beside the tensor in its first or last word stays.
//
// Cost: one read and one write of each element.

override FROM: u32 = 0u; // one of the following
override TO: u32 = 0u; // the same

const F32 = 0u;
const F16 = 1u;
const BF16 = 2u;
const U32 = 3u;

fn is_short(kind: u32) -> bool {
  return kind == F16 || kind == BF16;
}

fn bf16_bits(bits: u32) -> u32 {
  if (bits & 0x7fffffffu) > 0x7f800000u {
    let upper = bits >> 16u;
    return upper | select(0u, 0x40u, (upper & 0x7fu) == 0u);
  }
  return shifted(bits, 16u);
}

fn of_whole(number: u32) -> u32 {
  if number == 0u { return 0u; }
  let zeros = countLeadingZeros(number);
  // 24 bits, the highest of which adds 1 to the exponent.
  return ((157u - zeros) << 23u) + shifted(number << zeros, 8u);
}

fn whole_of(bits: u32) -> u32 {
  let magnitude = bits & 0x7fffffffu;
  let exponent = magnitude >> 23u;
  if magnitude > 0x7f800000u || exponent < 127u || bits > 0x80000000u { return 0u; } // NaN, less than 1, negative
  if exponent >= 159u { return 0xffffffffu; }
  let number = (magnitude & 0x7fffffu) | 0x800000u;
  return select(number >> (150u - min(exponent, 150u)), number << (max(exponent, 150u) - 150u), exponent > 150u);
}

// Element i, as the bits of an f32 or as a whole number.
fn wide(i: u32) -> u32 {
  if !is_short(FROM) { return source[params.source_base / 2u + i]; }
  let half = source_half(params.source_base + i);
  if FROM == F16 { return of_f16(half); }
  return half << 16u;
}

// The bits of an element of type TO.
fn narrow(value: u32) -> u32 {
  if FROM == U32 && TO == U32 { return value; }
  if TO == U32 { return whole_of(value); }
  var bits = value;
  if FROM == U32 { bits = of_whole(value); }
  if TO == F16 { return f16_bits(bits); }
  if TO == BF16 { return bf16_bits(bits); }
  return bits;
}

fn short_number(i: u32) -> u32 {
  return narrow(wide(i));
}

@compute @workgroup_size(128)
fn main(grid: Grid, lane: Lane) {
  let pair = linear_group(grid) * 128u + lane.index;
  if is_short(TO) {
    write_pair(pair);
    return;
  }
  let at = params.copied_base / 2u;
  for (var i = 2u * pair; i < min(2u * pair + 2u, params.elements); i++) {
    copied[at + i] = narrow(wide(i));
  }
}
