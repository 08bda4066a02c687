// Logits of a softmax, and the values that stand for special cases. Works on the bits, because a shader may assume that no float is a NaN
// or an infinity.
//
// A logit saturates at the largest float, so no logit is infinite. That frees the infinities for other meanings. Negative infinity marks a
// key that the row does not see. In a maximum, positive infinity marks a NaN, and so a NaN wins.
const LOWEST = -3.4028234e38;
const HIDDEN = 0xff800000u; // the bits of negative infinity
const SPOILT = 0x7f800000u; // those of infinity

// The least weight. A visible key's weight stays above 0, so an infinite value that the row sees stays infinite, however far its logit is
// below the largest. A weight of 0 means that the key is hidden.
const LEAST = 1.1754943508222875e-38;

fn exponential(exponents: vec4<f32>) -> vec4<f32> {
  return max(exp(exponents), vec4<f32>(LEAST));
}

fn saturated(values: vec4<f32>) -> vec4<f32> {
  let bits = bitcast<vec4<u32>>(values);
  let infinite = (bits & vec4<u32>(0x7fffffffu)) == vec4<u32>(SPOILT);
  return bitcast<vec4<f32>>(bits - select(vec4<u32>(), vec4<u32>(1u), infinite));
}

fn saturated_f32(value: f32) -> f32 {
  return saturated(vec4<f32>(value)).x;
}

// For a maximum: infinity in place of a NaN.
fn marked(values: vec4<f32>) -> vec4<f32> {
  let bits = bitcast<vec4<u32>>(values);
  return bitcast<vec4<f32>>(select(bits, vec4<u32>(SPOILT), (bits & vec4<u32>(0x7fffffffu)) > vec4<u32>(SPOILT)));
}

fn marked_f32(value: f32) -> f32 {
  return marked(vec4<f32>(value)).x;
}

// The value, or a NaN if `maximum` is the maximum of a row with a NaN. The bits pass through a variable, because a constant may not be a
// NaN.
fn unless_spoilt(value: f32, maximum: f32) -> f32 {
  var nan = 0x7fc00000u;
  return bitcast<f32>(select(bitcast<u32>(value), nan, bitcast<u32>(maximum) == SPOILT));
}

// The log-sum-exp of a row, from its largest logit and its sum of exp(logit - largest). It is negative infinity if the row sees nothing.
fn log_sum(largest: f32, sum: f32) -> f32 {
  let seen = unless_spoilt(largest + log(sum), largest);
  return bitcast<f32>(select(bitcast<u32>(seen), HIDDEN, sum == 0.0));
}
