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

override CENTRED: u32 = 0u; // 1 for LayerNorm, 0 for RMSNorm

const NONE = 0xffffffffu;
const LARGEST = 0x1.fffffep+127f;
const SMALLEST = 0x1p-126f; // smallest normal number

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
  // Rows that are no blocks: no divisions.
  if params.positions == 1u && params.skip == 0u && params.transposed == 0u { return params.x_base + row * params.channels; }
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

// A channel of a position, or another number where there is none.
fn load(first: u32, c: u32) -> elem {
  return x[select(first, params.x_base, first == NONE) + c];
}

fn number(first: u32, value: elem) -> elem_f32 {
  return select(elem_f32(value), elem_f32(), first == NONE);
}

// What the first pass finds.
struct Facts {
  total: f32, // terms of the mean, or squares
  magnitudes: elem_u32,
  differences: elem_u32, // from the row's first number
}

fn find(facts: Facts, opening: elem_u32, value: elem_f32) -> Facts {
  let bits = bitcast<elem_u32>(value);
  var next = facts;
  next.magnitudes = max(facts.magnitudes, bits & elem_u32(0x7fffffffu));
  if CENTRED == 1u {
    next.total += elem_dot(value, elem_f32(params.share));
    next.differences |= bits ^ opening;
  } else {
    next.total += elem_dot(value, value);
  }
  return next;
}

// The sums of the differences from the mean and of their squares.
fn squares(sums: vec2<f32>, scale: Scale, value: elem_f32) -> vec2<f32> {
  let difference = value * scale.power - elem_f32(scale.mean);
  return sums + vec2<f32>(elem_dot(difference, elem_f32(1.0)), elem_dot(difference, difference));
}

// How a row is scaled.
struct Scale {
  power: f32,
  mean: f32,
  rest: f32,
  scale: f32,
  varies: bool,
  finite: bool,
}

fn put(scale: Scale, row: u32, offset: u32, c: u32, number: elem_f32, factor: elem, term: elem) {
  var value = (number * scale.power - elem_f32(scale.mean) - elem_f32(scale.rest)) * scale.scale;
  if CENTRED == 1u && !scale.varies { value = elem_f32(); }
  if params.weighted == 1u { value *= elem_f32(factor); }
  if params.biased == 1u { value += elem_f32(term); }
  if !scale.finite { value = elem_f32(make_nan()); }
  y[params.y_base + row * params.positions * params.channels + offset + c] = elem(value);
}

fn factor_of(offset: u32, c: u32) -> elem {
  var factor: elem;
  if params.weighted == 1u { factor = weight[params.weight_base + offset + c]; }
  return factor;
}

fn term_of(offset: u32, c: u32) -> elem {
  var term: elem;
  if params.biased == 1u { term = bias[params.bias_base + offset + c]; }
  return term;
}

@compute @workgroup_size(128)
fn main(grid: Grid, lane: Lane) {
  let first_row = linear_group(grid) * (128u >> params.lanes_log2);
  if first_row >= params.rows { return; }
  let lanes = 1u << params.lanes_log2;
  let row = first_row + (lane.index >> params.lanes_log2);
  let in_row = lane.index & (lanes - 1u);
  let positions = select(0u, params.positions, row < params.rows);
  let centred = CENTRED == 1u;

  let begin = first_of(min(row, params.rows - 1u), 0u);
  let opening = bitcast<elem_u32>(elem_f32(elem_number(number(begin, load(begin, 0u)), 0u)));
  var facts = Facts();
  for (var position = 0u; position < positions; position++) {
    let first = first_of(row, position);
    var c = in_row;
    if AHEAD == 4u {
      for (; c + 3u * lanes < params.channels; c += 4u * lanes) {
        let value = load(first, c);
        let second = load(first, c + lanes);
        let third = load(first, c + 2u * lanes);
        let fourth = load(first, c + 3u * lanes);
        facts = find(facts, opening, number(first, value));
        facts = find(facts, opening, number(first, second));
        facts = find(facts, opening, number(first, third));
        facts = find(facts, opening, number(first, fourth));
      }
    }
    for (; c < params.channels; c += lanes) {
      facts = find(facts, opening, number(first, load(first, c)));
    }
  }
  let row_bits = vec2<u32>(largest_of(facts.magnitudes), largest_of(facts.differences));
  let of_row = sum_max_of_lanes(lane, params.lanes_log2, vec2<f32>(facts.total), row_bits);
  let first_sum = of_row.sum.x;
  let bits = of_row.largest;
  var scale = Scale(scale_of_row(bits.x), 0.0, 0.0, 0.0, !centred || bits.y != 0u, bits.x < 0x7f800000u);
  if centred {
    let mean = clamp(first_sum / params.count * params.shares, -LARGEST, LARGEST) * scale.power;
    // A compiler that knew how the mean was made would rearrange the differences from it. The shift gives 0.
    scale.mean = bitcast<f32>(bitcast<u32>(mean) | (params.transposed >> 1u));
  }

  var sums = vec2<f32>();
  for (var position = 0u; position < select(0u, positions, centred || scale.power != 1.0); position++) {
    let first = first_of(row, position);
    var c = in_row;
    if AHEAD == 4u {
      for (; c + 3u * lanes < params.channels; c += 4u * lanes) {
        let value = load(first, c);
        let second = load(first, c + lanes);
        let third = load(first, c + 2u * lanes);
        let fourth = load(first, c + 3u * lanes);
        sums = squares(sums, scale, number(first, value));
        sums = squares(sums, scale, number(first, second));
        sums = squares(sums, scale, number(first, third));
        sums = squares(sums, scale, number(first, fourth));
      }
    }
    for (; c < params.channels; c += lanes) {
      sums = squares(sums, scale, number(first, load(first, c)));
    }
  }
  sums = sum_of_lanes(lane, params.lanes_log2, sums) / params.count;
  if !centred {
    sums = vec2<f32>(0.0, select(sums.y, first_sum / params.count, scale.power == 1.0));
  }
  scale.rest = sums.x;
  scale.scale = inverseSqrt(max(sums.y - scale.rest * scale.rest, 0.0) + max(params.epsilon * scale.power * scale.power, SMALLEST));

  for (var position = 0u; position < positions; position++) {
    let first = first_of(row, position);
    let offset = position * params.channels;
    var c = in_row;
    if AHEAD == 4u {
      for (; c + 3u * lanes < params.channels; c += 4u * lanes) {
        let value = load(first, c);
        let second = load(first, c + lanes);
        let third = load(first, c + 2u * lanes);
        let fourth = load(first, c + 3u * lanes);
        let factor = factor_of(offset, c);
        let factor2 = factor_of(offset, c + lanes);
        let factor3 = factor_of(offset, c + 2u * lanes);
        let factor4 = factor_of(offset, c + 3u * lanes);
        let term = term_of(offset, c);
        let term2 = term_of(offset, c + lanes);
        let term3 = term_of(offset, c + 2u * lanes);
        let term4 = term_of(offset, c + 3u * lanes);
        put(scale, row, offset, c, number(first, value), factor, term);
        put(scale, row, offset, c + lanes, number(first, second), factor2, term2);
        put(scale, row, offset, c + 2u * lanes, number(first, third), factor3, term3);
        put(scale, row, offset, c + 3u * lanes, number(first, fourth), factor4, term4);
      }
    }
    for (; c < params.channels; c += lanes) {
      put(scale, row, offset, c, number(first, load(first, c)), factor_of(offset, c), term_of(offset, c));
    }
  }
}
