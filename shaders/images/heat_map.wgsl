// Shows a score over an image: each pixel takes a part of the colour of its score.
//
//   y = x + strength (colour - x),   t = (score - low) / (high - low), from 0 to 1; 0 of NaN
//   colour = 3 t, 3 t - 1, 3 t - 2 of red, green and blue, each from 0 to 1: black, red, yellow, white. A grey image takes t.
//
// image:  [B, image_rows, image_columns, C] elem, four channels per elem where C and the alignment allow it; or a texture
// scores: [B, rows * columns] f32; a grid over the image
// shown:  as image; alpha stays
//
// A pixel has the score of its cell, floor(row rows / image_rows) and likewise its column. With SMOOTH it is interpolated between the t of
// the four nearest cells, as PyTorch's `interpolate` does.
//
// Cost: one read and one write of each pixel.

override SMOOTH: u32 = 0u;

fn share(batch: u32, row: u32, column: u32) -> f32 {
  let score = scores[params.scores_base + (batch * params.rows + row) * params.columns + column];
  if (bitcast<u32>(score) & 0x7fffffffu) > 0x7f800000u { return 0.0; }
  return clamp((clamp(score, params.low, params.high) - params.low) / params.range, 0.0, 1.0);
}

fn interpolated(batch: u32, row: u32, column: u32) -> f32 {
  let down = bilinear(row, params.rows, params.image_rows);
  let across = bilinear(column, params.columns, params.image_columns);
  var sum = 0.0;
  for (var y = down.begin; y < down.end; y++) {
    for (var x = across.begin; x < across.end; x++) {
      let weight = select(down.other, down.first, y == down.begin) * select(across.other, across.first, x == across.begin);
      sum += weight * share(batch, y, x);
    }
  }
  return sum;
}

@compute @workgroup_size(128)
fn main(grid: Grid, lane: Lane) {
  let i = linear_group(grid) * 128u + lane.index;
  if i >= params.pixels { return; }
  let column = i % params.image_columns;
  let image_row = i / params.image_columns;
  let row = image_row % params.image_rows;
  let batch = image_row / params.image_rows;
  var t = 0.0;
  if SMOOTH == 1u {
    t = interpolated(batch, row, column);
  } else {
    t = share(batch, row * params.rows / params.image_rows, column * params.columns / params.image_columns);
  }
  let texel = image_texel(batch, row, column);
  let hot = clamp(vec3(3.0 * t, 3.0 * t - 1.0, 3.0 * t - 2.0), vec3(0.0), vec3(1.0));
  let colour = select(hot, vec3(t), params.image_channels == 1u);
  show(batch, row, column, vec4(texel.xyz + params.strength * (colour - texel.xyz), texel.w));
}
