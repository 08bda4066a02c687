
// Writes a texel of an image of a batch: shown [B, rows, columns, channels].
fn show(batch: u32, row: u32, column: u32, texel: vec4<f32>) {
  let number = (batch * params.image_rows + row) * params.image_columns + column;
  let at = params.shown_base + number * (params.image_channels / ELEM_WIDTH);
  shown[at] = elem(elem_of(texel));
  if ELEM_WIDTH == 4u { return; }
  if params.image_channels > 1u { shown[at + 1u] = elem(elem_of(texel.yyyy)); }
  if params.image_channels > 2u { shown[at + 2u] = elem(elem_of(texel.zzzz)); }
  if params.image_channels > 3u { shown[at + 3u] = elem(elem_of(texel.wwww)); }
}
