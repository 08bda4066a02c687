// Cuts an image into patches: resizes it, normalizes its channels, and puts the pixels of a patch side by side.
//
//   y = (r - mean) / deviation,   r = sum over a window of weight x
//
// image:   [B, image_rows, image_columns, C] elem, four channels per elem where C and the alignment allow it; or a texture
// patches: [B, rows * columns, patch_rows * patch_columns * channels] one number an element; the pixels of a patch row by row, their
//          channels innermost, or outermost (CHANNEL_FIRST)
//
// The image becomes resized_rows x resized_columns pixels, and lies so many rows and columns (`top`, `left`) within the patches. What no pixel
// covers is `fill` in place of r. Weights add up to 1:
//   nearest:     the place floor((i + 1/2) n / outputs)
//   bilinear:    floor(p) and floor(p) + 1, for p = max((i + 1/2) n / outputs - 1/2, 0)
//   antialiased: places j by 1 - |j + 1/2 - (i + 1/2) n / outputs| / max(n / outputs, 1), where above 0
// A pixel of weight 0 is not read.
//
// Cost: one read of each pixel that counts, for each window that it is in; one write of each number.

override SAMPLING: u32 = 0u; // one of the following

const NEAREST = 0u;
const BILINEAR = 1u;
const ANTIALIASED = 2u;

fn window(i: u32, live: u32, outputs: u32) -> Window {
  // An image of its own size may have more pixels than the product holds.
  if SAMPLING == NEAREST { return between(select((2u * i + 1u) * live / (2u * outputs), i, live == outputs), 0u, 1u, live); }
  if SAMPLING == BILINEAR { return bilinear(i, live, outputs); }
  return antialiased(i, live, outputs);
}

fn weight_of(window: Window, place: u32, live: u32, outputs: u32) -> f32 {
  if SAMPLING == ANTIALIASED { return antialiased_weight(window, place, live, outputs); }
  return select(window.other, window.first, place == window.begin);
}

// Sum of the weights of a window.
fn total_of(window: Window, live: u32, outputs: u32) -> f32 {
  if SAMPLING != ANTIALIASED { return 1.0; }
  var total = 0.0;
  for (var place = window.begin; place < window.end; place++) { total += weight_of(window, place, live, outputs); }
  return total;
}

fn resized(batch: u32, row: u32, column: u32) -> vec4<f32> {
  let down = window(row, params.image_rows, params.resized_rows);
  let across = window(column, params.image_columns, params.resized_columns);
  let total_down = total_of(down, params.image_rows, params.resized_rows);
  let total_across = total_of(across, params.image_columns, params.resized_columns);
  var sum = vec4<f32>();
  for (var y = down.begin; y < down.end; y++) {
    let weight = weight_of(down, y, params.image_rows, params.resized_rows) / total_down;
    for (var x = across.begin; x < across.end; x++) {
      sum += weight * (weight_of(across, x, params.image_columns, params.resized_columns) / total_across) * image_texel(batch, y, x);
    }
  }
  return sum;
}

fn put(at: u32, value: f32, mean: f32, deviation: f32) {
  patches[at] = elem_scalar((value - mean) / deviation);
}

@compute @workgroup_size(128)
fn main(grid: Grid, lane: Lane) {
  let i = linear_group(grid) * 128u + lane.index;
  if i >= params.pixels { return; }
  let pixels = params.patch_rows * params.patch_columns;
  let patch_index = i / pixels;
  let pixel = i % pixels;
  let patch_row = patch_index / params.columns;
  let batch = patch_row / params.rows;
  let row = (patch_row % params.rows) * params.patch_rows + pixel / params.patch_columns;
  let column = (patch_index % params.columns) * params.patch_columns + pixel % params.patch_columns;
  // Before the image the difference wraps round, and is large.
  let inside = row - params.top < params.resized_rows && column - params.left < params.resized_columns;
  var texel = vec4<f32>();
  if inside { texel = resized(batch, row - params.top, column - params.left); }
  let value = select(
    vec4(params.fill0, params.fill1, params.fill2, params.fill3),
    vec4(texel[params.source0], texel[params.source1], texel[params.source2], texel[params.source3]),
    inside
  );
  let start = params.patches_base + patch_index * pixels * params.channels;
  let at = start + select(pixel * params.channels, pixel, params.channel_first == 1u);
  let step = select(1u, pixels, params.channel_first == 1u);
  put(at, value.x, params.mean0, params.deviation0);
  if params.channels > 1u { put(at + step, value.y, params.mean1, params.deviation1); }
  if params.channels > 2u { put(at + 2u * step, value.z, params.mean2, params.deviation2); }
  if params.channels > 3u { put(at + 3u * step, value.w, params.mean3, params.deviation3); }
}
