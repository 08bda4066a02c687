
// A texel of an image of a batch: image [B, rows, columns, channels]. Channels that it does not have are 0, and alpha is 1.
fn image_texel(batch: u32, row: u32, column: u32) -> vec4<f32> {
  let texel = (batch * params.image_rows + row) * params.image_columns + column;
  let at = params.image_base + texel * (params.image_channels / ELEM_WIDTH);
  let first = elem_f32(image[at]);
  if ELEM_WIDTH == 4u {
    return vec4(elem_number(first, 0u), elem_number(first, 1u), elem_number(first, 2u), elem_number(first, 3u));
  }
  var all = vec4(elem_number(first, 0u), 0.0, 0.0, 1.0);
  if params.image_channels > 1u { all.y = elem_number(elem_f32(image[at + 1u]), 0u); }
  if params.image_channels > 2u { all.z = elem_number(elem_f32(image[at + 2u]), 0u); }
  if params.image_channels > 3u { all.w = elem_number(elem_f32(image[at + 3u]), 0u); }
  return all;
}
