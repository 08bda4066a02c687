
// A texel as it is.
fn stored(texel: vec4<f32>) -> vec4<f32> {
  return texel;
}
