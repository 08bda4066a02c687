// Samples feature grids at a few points for each query and head, and sums the samples by weight.
//
//   y[b,q,h] = sum_s w[b,q,h,s] * sample(value[b,:,h], level of s, pixel of s)
//
//   pixel = location * (width, height) - 1/2                          without reference points
//   pixel = reference[b,q] * (width, height) + offset - 1/2           with reference points
//
// value:     [B, N, H, D] elem, four channels per elem where D and the alignment allow it; one level after another
// points:    [B, Q, H, S, 2] elem_scalar; (x, y); one level's points after another's
// weights:   [B, Q, H, S] elem_scalar; if softmax = 1, their softmax over S is used
// reference: [Q, 2] or [B, Q, 2] f32; read if referenced = 1
// levels:    [L, 3] u32; height, width, first token
// y:         [B, Q, H, D] elem
//
// Samples are bilinear, with zeros outside the grid. A pixel more than one token outside adds nothing, and neither does a NaN pixel.
// The sum is in f32, in ascending s. Cost: S samples of four tokens for each element of y, through the caches; one write.

@compute @workgroup_size(64)
fn main(grid: Grid, lane: Lane) {
  let element = linear_group(grid) * 64u + lane.index;
  if element >= params.elements { return; }
  let channel = element % params.channels;
  let row = element / params.channels; // row of the weights: batch, query, head
  let head = row % params.heads;
  let query = row / params.heads % params.queries;
  let batch = row / params.heads / params.queries;
  let first_weight = params.weights_base + row * params.samples;
  let first_point = params.points_base + row * params.samples * 2u;

  var anchor = vec2<f32>();
  if params.referenced == 1u {
    let at = params.reference_base + batch * params.reference_stride + query * 2u;
    anchor = vec2<f32>(reference[at], reference[at + 1u]);
  }
  var largest = -3.4028234e38;
  for (var s = 0u; s < params.samples; s++) {
    largest = max(largest, f32(weights[first_weight + s]));
  }

  var sum = elem_f32();
  var total = 0.0;
  for (var s = 0u; s < params.samples; s++) {
    let level = params.levels_base + s / params.per_level * 3u;
    let size = vec2<u32>(levels[level + 1u], levels[level]);
    let extent = vec2<f32>(size);
    let point = vec2<f32>(f32(points[first_point + 2u * s]), f32(points[first_point + 2u * s + 1u]));
    let pixel = select(point * extent, anchor * extent + point, params.referenced == 1u) - 0.5;
    let near = is_finite(pixel.x) && is_finite(pixel.y) && all(pixel > vec2<f32>(-1.0)) && all(pixel < extent);

    // Every index stays within the level. Tokens outside the grid or not near the pixel are read but not used.
    let corner = floor(select(vec2<f32>(), pixel, near));
    let part = select(vec2<f32>(), pixel, near) - corner;
    let low = vec2<u32>(max(corner, vec2<f32>()));
    let high = min(vec2<u32>(corner + 1.0), max(size, vec2<u32>(1u)) - 1u);
    let left = near && corner.x >= 0.0;
    let right = near && corner.x + 1.0 < extent.x;
    let top = corner.y >= 0.0;
    let bottom = corner.y + 1.0 < extent.y;
    let tokens = batch * params.tokens + levels[level + 2u];
    let above = tokens + low.y * size.x;
    let below = tokens + high.y * size.x;
    let top_left = token_value(above + low.x, head, channel, left && top);
    let top_right = token_value(above + high.x, head, channel, right && top);
    let bottom_left = token_value(below + low.x, head, channel, left && bottom);
    let bottom_right = token_value(below + high.x, head, channel, right && bottom);
    let upper = top_left * (1.0 - part.x) + top_right * part.x;
    let lower = bottom_left * (1.0 - part.x) + bottom_right * part.x;

    let given = f32(weights[first_weight + s]);
    let weight = select(given, exp(given - largest), params.softmax == 1u);
    total += weight;
    sum += weight * (upper * (1.0 - part.y) + lower * part.y);
  }
  if params.softmax == 1u && params.samples > 0u {
    sum /= total;
  }
  y[params.y_base + element] = elem(sum);
}

fn token_value(token: u32, head: u32, channel: u32, inside: bool) -> elem_f32 {
  let at = select(0u, (token * params.heads + head) * params.channels + channel, inside);
  return select(elem_f32(), elem_f32(value[params.value_base + at]), inside);
}
