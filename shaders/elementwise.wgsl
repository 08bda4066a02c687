// Two tensors number by number, the second one repeated where it has fewer dimensions.
//
//   y = activation(a + scale * b)   or   activation(a * (scale * b))
//
// a:     [outer, middle, inner] elem
// b:     [outer or 1, middle or 1, inner or 1] elem; read if wide = 0
// b_f32: the same in f32; read if wide = 1
// y:     [outer, middle, inner] elem
//
// Arithmetic is in f32. Cost: one read and one write of each number; an invocation has four.
struct Params {
  a_base: u32,
  b_base: u32,
  b_f32_base: u32,
  y_base: u32,
  elements: u32,
  middle: u32,
  inner: u32,
  outer_stride: u32,
  middle_stride: u32,
  inner_stride: u32,
  wide: u32,
  multiply: u32,
  activation: u32,
  scale: f32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<elem>;
@group(0) @binding(2) var<storage, read> b: array<elem>;
@group(0) @binding(3) var<storage, read> b_f32: array<f32>;
@group(0) @binding(4) var<storage, read_write> y: array<elem>;

// What of b belongs to a's i-th number.
fn second(i: u32) -> f32 {
  let row = i / params.inner;
  let at = row / params.middle * params.outer_stride + row % params.middle * params.middle_stride + i % params.inner * params.inner_stride;
  if params.wide == 1u { return b_f32[params.b_f32_base + at]; }
  return f32(b[params.b_base + at]);
}

@compute @workgroup_size(128)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  lane: Lane,
) {
  let first = linear_group(group, groups) * 512u + lane.index;
  if first >= params.elements { return; }
  // Numbers beyond the last take the last: what comes of them is not stored.
  let at = min(vec4<u32>(first) + vec4<u32>(0u, 128u, 256u, 384u), vec4<u32>(params.elements - 1u));
  let base = vec4<u32>(params.a_base) + at;
  let left = vec4<f32>(f32(a[base.x]), f32(a[base.y]), f32(a[base.z]), f32(a[base.w]));
  let right = params.scale * vec4<f32>(second(at.x), second(at.y), second(at.z), second(at.w));
  let values = activate(params.activation, select(left + right, left * right, vec4<bool>(params.multiply == 1u)));
  for (var i = 0u; i < 4u; i++) {
    if first + i * 128u < params.elements { y[params.y_base + at[i]] = elem(values[i]); }
  }
}
