// LayerNorm of rows: subtracts the mean and divides by the standard deviation. RMSNorm does not subtract the mean.
//
//   y[i,c] = (x[i,c] - mean_i) / sqrt(mean_c (x[i,c] - mean_i)^2 + epsilon) * weight[c] + bias[c]
//
// x:      [rows, C] elem; or [B, skip + h w, C / (kh kw)], whose blocks of kh x kw tokens are the rows: block (i, j) of a grid joins the
//         tokens (i kh + dy, j kw + dx), with zeros beyond the grid
// weight: [C] elem; read if weighted
// bias:   [C] elem; read if biased
// y:      [rows, C] elem
//
// A NaN or an infinity makes its row NaN. A row that repeats one number gives the bias exactly. Both are found on the bits.
//
// Sums are in f32. The first pass finds a mean, which is rounded. The second pass finds the rounding error of that mean, together with the
// squares. So a large offset of a row costs no accuracy.
// The terms of the first mean are fractions of the numbers, so their sum cannot overflow.
// If the squares or epsilon would leave f32's range, the row is scaled by a power of two, and epsilon by its square. The power brings the
// larger of the row's largest magnitude and epsilon's root to about 1.
// Cost: three reads of x, two of them from cache. Without a mean one read less, because the first pass already has the squares of rows that
// need no scaling.
// 2^`lanes_log2` invocations share a row. Their number depends on the row's length, never on the number of rows, because it sets the order
// of the sums.

const NONE = 0xffffffffu;
const LARGEST = 0x1.fffffep+127f;
const SMALLEST = 0x1p-126f; // smallest normal number
var<workgroup> parts: array<vec2<f32>, 128>;
var<workgroup> part_bits: array<vec2<u32>, 128>;

// The first of a row's lanes. Sums over the lanes start there and go in lane order.
fn first_lane(lane: Lane) -> u32 {
  return lane.index & ~((1u << params.lanes_log2) - 1u);
}

// The sum over a row's lanes. Call from uniform control flow.
fn sum_of_row(lane: Lane, part: vec2<f32>) -> vec2<f32> {
  workgroupBarrier(); // wait until the previous sums have been read
  parts[lane.index] = part;
  workgroupBarrier();
  let first = first_lane(lane);
  var sum = vec2<f32>();
  for (var i = 0u; i < 1u << params.lanes_log2; i++) {
    sum += parts[first + i];
  }
  return sum;
}

// The power of two that scales a row, from the bits of its largest magnitude. The exponent is capped so that the inverse stays a normal
// number. So the largest rows are scaled to below 4.
fn scale_of_row(largest: u32) -> f32 {
  let top = max(largest >> 23u, params.root_exponent);
  // From 2^-40 to 2^48 the squares of 2^31 channels have a finite sum. Squares that are flushed to 0 there are below its rounding.
  if top >= 87u && top < 175u { return 1.0; }
  return bitcast<f32>((254u - min(top, 253u)) << 23u);
}

fn largest_of(magnitudes: elem_u32) -> u32 {
  let four = vec4<u32>(magnitudes);
  return max(max(four.x, four.y), max(four.z, four.w));
}

// Where the channels of one position of a row begin, or NONE beyond the grid.
fn first_of(row: u32, position: u32) -> u32 {
  let blocks = params.block_rows * params.block_columns;
  let block = row % blocks;
  var place = vec2<u32>(block / params.block_columns, block % params.block_columns);
  if params.transposed == 1u { place = vec2<u32>(block % params.block_rows, block / params.block_rows); }
  let at = place * vec2<u32>(params.factor_rows, params.factor_columns)
    + vec2<u32>(position / params.factor_columns, position % params.factor_columns);
  let token = row / blocks * (params.skip + params.grid_rows * params.grid_columns) + params.skip + at.x * params.grid_columns + at.y;
  let inside = (at.x < params.grid_rows) & (at.y < params.grid_columns);
  return select(NONE, params.x_base + token * params.channels, inside);
}

fn number(first: u32, c: u32) -> elem_f32 {
  if first == NONE { return elem_f32(); }
  return elem_f32(x[first + c]);
}

@compute @workgroup_size(128)
fn main(grid: Grid, lane: Lane) {
  let first_row = linear_group(grid) * (128u >> params.lanes_log2);
  if first_row >= params.rows { return; }
  let lanes = 1u << params.lanes_log2;
  let row = first_row + (lane.index >> params.lanes_log2);
  let in_row = lane.index & (lanes - 1u);
  let positions = select(0u, params.positions, row < params.rows);
  let centred = params.centred == 1u;

  // The terms of the mean or the squares, the largest magnitude, and the differences from the row's first number.
  let opening = bitcast<elem_u32>(elem_f32(elem_number(number(first_of(min(row, params.rows - 1u), 0u), 0u), 0u)));
  var total = 0.0;
  var magnitudes = elem_u32();
  var differences = elem_u32();
  for (var position = 0u; position < positions; position++) {
    let first = first_of(row, position);
    for (var c = in_row; c < params.channels; c += lanes) {
      let value = number(first, c);
      total += elem_dot(value, select(value, elem_f32(params.share), centred));
      magnitudes = max(magnitudes, bitcast<elem_u32>(value) & elem_u32(0x7fffffffu));
      differences = max(differences, bitcast<elem_u32>(value) ^ opening);
    }
  }
  part_bits[lane.index] = vec2<u32>(largest_of(magnitudes), largest_of(differences));
  let first_sum = sum_of_row(lane, vec2<f32>(total)).x;
  var bits = vec2<u32>();
  for (var i = 0u; i < lanes; i++) {
    bits = max(bits, part_bits[first_lane(lane) + i]);
  }
  let finite = bits.x < 0x7f800000u;
  let power = scale_of_row(bits.x);
  var mean = 0.0;
  if centred { mean = clamp(first_sum / params.count * params.shares, -LARGEST, LARGEST) * power; }

  var sums = vec2<f32>();
  for (var position = 0u; position < select(0u, positions, centred || power != 1.0); position++) {
    let first = first_of(row, position);
    for (var c = in_row; c < params.channels; c += lanes) {
      let difference = number(first, c) * power - elem_f32(mean);
      sums += vec2<f32>(elem_dot(difference, elem_f32(1.0)), elem_dot(difference, difference));
    }
  }
  sums = sum_of_row(lane, sums) / params.count;
  if !centred {
    sums = vec2<f32>(0.0, select(sums.y, first_sum / params.count, power == 1.0));
  }
  let rest = sums.x;
  let scale = inverseSqrt(max(sums.y - rest * rest, 0.0) + max(params.epsilon * power * power, SMALLEST));
  let varies = !centred || bits.y != 0u;

  for (var position = 0u; position < positions; position++) {
    let first = first_of(row, position);
    let offset = position * params.channels;
    for (var c = in_row; c < params.channels; c += lanes) {
      var value = (number(first, c) * power - elem_f32(mean) - elem_f32(rest)) * scale;
      if !varies { value = elem_f32(); }
      if params.weighted == 1u { value *= elem_f32(weight[params.weight_base + offset + c]); }
      if params.biased == 1u { value += elem_f32(bias[params.bias_base + offset + c]); }
      if !finite { value = elem_f32(make_nan()); }
      y[params.y_base + row * params.positions * params.channels + offset + c] = elem(value);
    }
  }
}
