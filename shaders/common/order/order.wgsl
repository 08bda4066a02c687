// The crate's total order on floats, as integers. A larger key is a larger value; -0 equals +0; NaN is lowest.
//
//   key 0                      no candidate: dead or excluded
//   key 1                      NaN
//   key 0x007fffff             -inf
//   key 0x80000000             both zeros
//   key 0xff800000             +inf
//   key 0xffffffff             protected: before every number
//
// Works on the bits, because a shader may assume that no float is a NaN or an infinity.
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

// The same key with the order of numbers reversed. NaN stays lowest.
fn order_key_smallest(value: f32) -> u32 {
  let key = order_key(value);
  return select(~key, KEY_NAN, key == KEY_NAN);
}

// The float of a live key. Both zeros give +0.
fn order_value(key: u32) -> f32 {
  if key == KEY_NAN { return make_nan(); }
  return bitcast<f32>(select(~key, key & 0x7fffffffu, key >= 0x80000000u));
}

fn is_finite(value: f32) -> bool {
  return (bitcast<u32>(value) & 0x7fffffffu) < 0x7f800000u;
}

// A quiet NaN. The bits pass through a variable, because a constant expression may not be a NaN.
fn make_nan() -> f32 {
  var bits = 0x7fc00000u;
  return bitcast<f32>(bits);
}

fn make_negative_infinity() -> f32 {
  var bits = 0xff800000u;
  return bitcast<f32>(bits);
}


// A float times 2^shift, computed on its bits. A compiler might combine a product of two powers of two into one power that is no float.
// Denormals give 0.
fn times_power(value: f32, shift: i32) -> f32 {
  let bits = bitcast<u32>(value);
  let field = (bits >> 23u) & 0xffu;
  if field == 0xffu { return value; }
  let moved = i32(field) + shift;
  let fraction = select(bits & 0x007fffffu, 0u, field == 0u || moved <= 0 || moved >= 255);
  let exponent = select(clamp(moved, 0, 255), 0, field == 0u);
  return bitcast<f32>((bits & 0x80000000u) | (u32(exponent) << 23u) | fraction);
}

// If a sum leaves f32's range though its terms do not, it is made again with its terms scaled by 2^-40.
const SHRINK = -40;
const SHRINK_FACTOR = 0x1p-40f;
const GROW_FACTOR = 0x1p+40f;

// Scales a mean of such terms back. A mean of finite numbers must stay finite after rounding, so it is clamped to the largest float.
fn grown_mean(mean: f32) -> f32 {
  if !is_finite(mean) { return mean; }
  return times_power(clamp(mean, -0x1.fffffep+87f, 0x1.fffffep+87f), -SHRINK);
}
