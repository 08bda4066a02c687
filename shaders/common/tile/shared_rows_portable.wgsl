// The memory of the weights that `shared_rows.wgsl` shares: 8 KiB of its own.
var<workgroup> weights: array<vec4<f32>, 512>;

fn keep_weights(at: u32, four: vec4<f32>) {
  weights[at] = four;
}

fn kept_weights(at: u32) -> vec4<f32> {
  return weights[at];
}

