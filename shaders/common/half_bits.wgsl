
// f16 by its bits, so that no device rounds otherwise or flushes a subnormal number. NaN stays NaN, with its upper bits.

// bits >> shift, rounded to the nearest, ties to even. `shift` is from 1 to 31.
fn shifted(bits: u32, shift: u32) -> u32 {
  let half = 1u << (shift - 1u);
  let whole = bits >> shift;
  let rest = bits & (2u * half - 1u);
  return whole + select(0u, 1u, rest > half || (rest == half && (whole & 1u) == 1u));
}

// The f16 nearest to an f32, ties to even; infinite beyond the range.
fn f16_bits(bits: u32) -> u32 {
  let sign = (bits >> 16u) & 0x8000u;
  let magnitude = bits & 0x7fffffffu;
  if magnitude > 0x7f800000u { // NaN, whose upper bits may all be 0
    let payload = (magnitude >> 13u) & 0x3ffu;
    return sign | 0x7c00u | select(payload, 0x200u, payload == 0u);
  }
  if magnitude >= 0x477ff000u { return sign | 0x7c00u; } // 65520 and more
  if magnitude >= 0x38800000u { return sign | shifted(magnitude - 0x38000000u, 13u); } // 2^-14 and more
  if magnitude < 0x33000000u { return sign; } // less than 2^-25
  let exponent = magnitude >> 23u; // from 102 to 112
  return sign | shifted((magnitude & 0x7fffffu) | 0x800000u, 126u - exponent);
}

// The f32 of an f16.
fn of_f16(half: u32) -> u32 {
  let sign = (half & 0x8000u) << 16u;
  let exponent = (half >> 10u) & 31u;
  let mantissa = half & 0x3ffu;
  if exponent == 31u { return sign | 0x7f800000u | (mantissa << 13u); }
  if exponent > 0u { return sign | ((exponent + 112u) << 23u) | (mantissa << 13u); }
  if mantissa == 0u { return sign; }
  // mantissa 2^-24, with its highest bit at `high`
  let high = 31u - countLeadingZeros(mantissa);
  return sign | ((high + 103u) << 23u) | ((mantissa << (23u - high)) & 0x7fffffu);
}
