// Logits of a softmax, and what stands for those that are no numbers. Work is on the bits: a shader may assume that no float is a NaN or
// an infinity.
//
// A logit saturates at the largest float, so none is infinite, and the infinities are free to stand for something else: negative infinity
// for a key that a row does not see, infinity for a NaN in a maximum, which it then wins.
const LOWEST = -3.4028234e38;
const HIDDEN = 0xff800000u; // the bits of negative infinity
const SPOILT = 0x7f800000u; // those of infinity

// A weight is above 0, and no factor may make it 0: an infinite value that is seen then stays infinite, however far its logit is from the largest.
// What has a weight of 0 is hidden.
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

// For a maximum: infinity where there is a NaN.
fn marked(values: vec4<f32>) -> vec4<f32> {
  let bits = bitcast<vec4<u32>>(values);
  return bitcast<vec4<f32>>(select(bits, vec4<u32>(SPOILT), (bits & vec4<u32>(0x7fffffffu)) > vec4<u32>(SPOILT)));
}

fn marked_f32(value: f32) -> f32 {
  return marked(vec4<f32>(value)).x;
}

// The value, or a NaN where `maximum` is that of a row with one. The bits pass through a variable: a constant may not be a NaN.
fn unless_spoilt(value: f32, maximum: f32) -> f32 {
  var nan = 0x7fc00000u;
  return bitcast<f32>(select(bitcast<u32>(value), nan, bitcast<u32>(maximum) == SPOILT));
}

// Log-sum-exp of a row whose largest logit and sum of exp(logit - largest) these are: negative infinity where it sees nothing.
fn log_sum(largest: f32, sum: f32) -> f32 {
  let seen = unless_spoilt(largest + log(sum), largest);
  return bitcast<f32>(select(bitcast<u32>(seen), HIDDEN, sum == 0.0));
}
