// The crate's total order on floats, as integers: larger key = larger value, -0 equals +0, NaN lowest.
//
//   key 0                      no candidate: dead, excluded
//   key 1                      NaN
//   key 0x007fffff             -inf
//   key 0x80000000             both zeros
//   key 0xff800000             +inf
//   key 0xffffffff             protected: before every number
//
// Work is on the bits: a shader may assume that no float is a NaN or an infinity.
const KEY_DEAD = 0u;
const KEY_NAN = 1u;
const KEY_PROTECTED = 0xffffffffu;

fn order_key(value: f32) -> u32 {
  let bits = bitcast<u32>(value);
  let magnitude = bits & 0x7fffffffu;
  if magnitude > 0x7f800000u { return KEY_NAN; }
  if magnitude == 0u { return 0x80000000u; }
  return select(bits | 0x80000000u, ~bits, bits >= 0x80000000u);
}

// The same with the order of numbers reversed; NaN stays lowest.
fn order_key_smallest(value: f32) -> u32 {
  let key = order_key(value);
  return select(~key, KEY_NAN, key == KEY_NAN);
}

// The float of a live key; a zero is +0.
fn order_value(key: u32) -> f32 {
  if key == KEY_NAN { return make_nan(); }
  return bitcast<f32>(select(~key, key & 0x7fffffffu, key >= 0x80000000u));
}

fn is_finite(value: f32) -> bool {
  return (bitcast<u32>(value) & 0x7fffffffu) < 0x7f800000u;
}

// A quiet NaN. The bits pass through a variable: a constant expression may not be a NaN.
fn make_nan() -> f32 {
  var bits = 0x7fc00000u;
  return bitcast<f32>(bits);
}

fn make_negative_infinity() -> f32 {
  var bits = 0xff800000u;
  return bitcast<f32>(bits);
}

