// Activations of four numbers at a time. The including shader's params choose the activation. ACTIVATED = 0 leaves them out, because a CPU
// runs all branches of an `if`.
override ACTIVATED: u32 = 1u; // or 0

const ACTIVATION_RELU = 1u;
const ACTIVATION_GELU = 2u;
const ACTIVATION_GELU_TANH = 3u;
const ACTIVATION_QUICK_GELU = 4u;
const ACTIVATION_SILU = 5u;
const ACTIVATION_SIGMOID = 6u;

// 1 / (1 + exp(-v)). The exponential's argument is never above 0, so it cannot overflow.
fn logistic(v: vec4<f32>) -> vec4<f32> {
  let e = exp(-abs(v));
  return select(e, vec4<f32>(1.0), v >= vec4<f32>()) / (1.0 + e);
}

// The standard normal distribution function at x. Its tail beyond z is t Q(t) exp(-z^2 / 2) with t = 1 / (1 + 0.27 z). Q interpolates at
// the Chebyshev points of 0 <= z <= 20, within 5.0e-8 of the tail. Beyond 20 the tail is below the smallest float.
fn normal_share(x: vec4<f32>) -> vec4<f32> {
  let z = min(abs(x), vec4<f32>(20.0));
  let t = 1.0 / (1.0 + 0.27 * z);
  var q = 0.029537090809 * t - 0.129223914114;
  q = q * t + 0.175285528827;
  q = q * t - 0.075282939365;
  q = q * t + 0.111840717147;
  q = q * t + 0.070428047692;
  q = q * t + 0.102199896767;
  q = q * t + 0.107492189654;
  q = q * t + 0.107723397068;
  let tail = t * q * exp(-0.5 * z * z);
  return select(tail, 1.0 - tail, x >= vec4<f32>());
}

fn activate(kind: u32, x: vec4<f32>) -> vec4<f32> {
  if ACTIVATED == 0u { return x; }
  if kind == ACTIVATION_RELU {
    // Tests the bits, because a device may return either operand for the maximum of a number and a NaN.
    let bits = bitcast<vec4<u32>>(x);
    return bitcast<vec4<f32>>(select(vec4<u32>(), bits, bits <= vec4<u32>(0x7f800000u)));
  }
  if kind == ACTIVATION_GELU { return x * normal_share(x); }
  var v = x;
  if kind == ACTIVATION_GELU_TANH {
    // 1 + tanh(u) = 2 / (1 + exp(-2u)). Beyond 20 the result is 0 or 2, and the cube would overflow.
    let near = clamp(x, vec4<f32>(-20.0), vec4<f32>(20.0));
    v = near * (1.59576912161 + 0.0713548162726 * near * near);
  }
  if kind == ACTIVATION_QUICK_GELU { v = 1.702 * x; }
  let share = logistic(v);
  return select(x * share, share, vec4<bool>(kind == ACTIVATION_SIGMOID));
}
