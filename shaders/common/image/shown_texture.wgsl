
// Writes a texel of a texture, which is a batch of one.
fn show(batch: u32, row: u32, column: u32, texel: vec4<f32>) {
  textureStore(shown, vec2(column, row), stored(texel));
}
