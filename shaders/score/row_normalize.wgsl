// Unit vectors and norms of token rows. For the keys of an attention, these are of the keys' mean over the heads.
//
//   mean_c = sum_h x_hc / H        norm = sqrt(sum_c mean_c^2)        unit_c = mean_c / norm
//
// x:       [B, H, N, C] elem, four channels per elem where C is a multiple of 4; H is 1 for tokens
// lengths: [B] u32
// unit:    [B, N, C] elem_f32
// norm:    [B, N] f32
//
// A row of zeros gives zeros. A row with a NaN or an infinity (found on the bits) gives unit 0 and norm NaN. Rows from lengths[b] on give
// 0.
// All arithmetic is on a scaled row: a power of two brings its largest magnitude into [1, 2). So nothing overflows, and rows that differ by
// a power of two have bit-equal units. The norm saturates at the largest float.
// Devices may read a denormal channel as 0 if the tensor is f16, or if the channel is below 2^-66 of the largest one.
//
// Cost: two reads of x, the second from cache. The scaled means pass through `unit`, also within the cache.

const LANES = 8u; // per row
const ROWS = 16u; // per workgroup
var<workgroup> magnitudes: array<u32, 128>;
var<workgroup> mean_magnitudes: array<u32, 128>;
var<workgroup> sums: array<f32, 128>;

// The binary exponent of a non-zero float, biased by 127. A denormal is handled as an integer times 2^-149, because devices may flush
// denormals in arithmetic.
fn biased_exponent(magnitude: u32) -> i32 {
  if magnitude >= 0x00800000u { return i32(magnitude >> 23u); }
  return i32(bitcast<u32>(f32(magnitude)) >> 23u) - 149;
}

// A float times 2^shift. This is exact, but a denormal result is truncated towards 0, and a too large one becomes the largest float.
fn shifted(value: f32, shift: i32) -> f32 {
  let bits = bitcast<u32>(value);
  let sign = bits & 0x80000000u;
  var magnitude = bits & 0x7fffffffu;
  if magnitude == 0u { return 0.0; }
  let exponent = biased_exponent(magnitude) + shift;
  if magnitude < 0x00800000u { magnitude = bitcast<u32>(f32(magnitude)); }
  let fraction = magnitude & 0x007fffffu;
  if exponent > 254 { return bitcast<f32>(sign | 0x7f7fffffu); }
  if exponent > 0 { return bitcast<f32>(sign | (u32(exponent) << 23u) | fraction); }
  if exponent < -22 { return 0.0; }
  return bitcast<f32>(sign | ((fraction | 0x00800000u) >> u32(1 - exponent)));
}

// The shift that brings a row's largest magnitude into [1, 2).
fn shift_to_one(magnitude: u32) -> i32 {
  if magnitude == 0u { return 0; }
  return 127 - biased_exponent(magnitude);
}

// 2^shift, for shifts from -126 to 127.
fn power_of_two(shift: i32) -> f32 {
  return bitcast<f32>(u32(127 + clamp(shift, -126, 127)) << 23u);
}

// Channels times 2^shift, the shift that brings their row into [1, 2). One factor usually does it. For the largest rows the factor would be
// denormal. In the smallest rows devices may read denormal channels as 0, so these are converted as integers times 2^-149. Channels below
// 2^-60 of the largest do not count.
fn scaled(value: elem_f32, shift: i32) -> elem_f32 {
  if shift <= 60 && shift >= -126 { return value * power_of_two(shift); }
  let bits = bitcast<elem_u32>(value);
  let magnitude = bits & elem_u32(0x7fffffffu);
  let whole = elem_f32(magnitude) * select(elem_f32(1.0), elem_f32(-1.0), bits > elem_u32(0x80000000u));
  let normal = value * power_of_two(shift / 2) * power_of_two(shift - shift / 2);
  // In the largest rows a denormal scales to nothing, and no power of two is that small.
  let denormal = select(0u, 0x00800000u, shift > 0);
  return select(normal, whole * power_of_two(shift - 149), magnitude < elem_u32(denormal));
}

fn magnitudes_of(value: elem_f32) -> elem_u32 {
  return bitcast<elem_u32>(value) & elem_u32(0x7fffffffu);
}

fn largest_of(magnitudes: elem_u32) -> u32 {
  let four = vec4<u32>(magnitudes);
  return max(max(four.x, four.y), max(four.z, four.w));
}

@compute @workgroup_size(128)
fn main(grid: Grid, lane: Lane) {
  let first = linear_group(grid) * ROWS;
  if first >= params.rows { return; }
  let in_row = lane.index % LANES;
  let lanes_of_row = lane.index - in_row;
  let row = first + lane.index / LANES;
  let batch = row / params.tokens;
  let token = row % params.tokens;
  // This invocation's channels: their place in this row, and in each head's part of x.
  var channels = 0u;
  if row < params.rows {
    channels = params.channels;
  }
  let source = params.x_base + (batch * params.heads * params.tokens + token) * params.channels;
  let head_stride = params.tokens * params.channels;
  let target_row = params.unit_base + row * params.channels;
  var live = false;
  if row < params.rows {
    live = token < lengths[params.lengths_base + batch];
  }

  var largest = elem_u32();
  for (var h = 0u; h < params.heads; h++) {
    for (var c = in_row; c < select(0u, channels, live); c += LANES) {
      largest = max(largest, magnitudes_of(elem_f32(x[source + h * head_stride + c])));
    }
  }
  var magnitude = largest_of(largest);
  magnitudes[lane.index] = magnitude;
  workgroupBarrier();
  for (var i = 0u; i < LANES; i++) {
    magnitude = max(magnitude, magnitudes[lanes_of_row + i]);
  }
  let finite = magnitude < 0x7f800000u;
  let shift = shift_to_one(magnitude);
  live = live && finite && magnitude > 0u;

  // The scaled sums over the heads go to `unit`. Only this invocation reads them again.
  largest = elem_u32();
  for (var c = in_row; c < select(0u, channels, live); c += LANES) {
    var sum = elem_f32();
    for (var h = 0u; h < params.heads; h++) {
      sum += scaled(elem_f32(x[source + h * head_stride + c]), shift);
    }
    unit[target_row + c] = sum;
    largest = max(largest, magnitudes_of(sum));
  }

  // Heads may cancel, so their mean gets a scale of its own. A mean below 2^-126 of the row is only rounding.
  var mean_shift = 0;
  if params.heads > 1u {
    var mean_magnitude = largest_of(largest);
    mean_magnitudes[lane.index] = mean_magnitude;
    workgroupBarrier();
    for (var i = 0u; i < LANES; i++) {
      mean_magnitude = max(mean_magnitude, mean_magnitudes[lanes_of_row + i]);
    }
    live = live && mean_magnitude >= 0x00800000u;
    mean_shift = shift_to_one(select(0u, mean_magnitude, live));
  }
  let mean_factor = power_of_two(mean_shift);

  var sum = 0.0;
  for (var c = in_row; c < select(0u, channels, live); c += LANES) {
    let value = unit[target_row + c] * mean_factor;
    sum += elem_dot(value, value);
  }
  sums[lane.index] = sum;
  workgroupBarrier();
  sum = 0.0;
  for (var i = 0u; i < LANES; i++) {
    sum += sums[lanes_of_row + i];
  }
  let root = sqrt(sum);

  for (var c = in_row; c < select(0u, channels, live); c += LANES) {
    unit[target_row + c] = unit[target_row + c] * mean_factor / root;
  }
  for (var c = in_row; c < select(channels, 0u, live); c += LANES) {
    unit[target_row + c] = elem_f32();
  }
  if in_row == 0u && row < params.rows {
    var value = 0.0;
    if live {
      value = shifted(root / f32(params.heads), -(shift + mean_shift));
    }
    if !finite {
      value = make_nan();
    }
    norm[params.norm_base + row] = value;
  }
}
