// The memory of the weights that `shared_rows.wgsl` shares: that of the slices of `tile_staged.wgsl`, which nobody needs while weights are shared.
fn keep_weights(at: u32, four: vec4<f32>) {
  slice[at] = four;
}

fn kept_weights(at: u32) -> vec4<f32> {
  return slice[at];
}

