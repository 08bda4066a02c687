
// A texel of a texture, which is a batch of one.
fn image_texel(batch: u32, row: u32, column: u32) -> vec4<f32> {
  return textureLoad(image, vec2(column, row), 0);
}
