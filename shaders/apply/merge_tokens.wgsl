// Reduces the members of every output row, in their order.
//
//   mean:          sum_i x_i / count        weighted mean: sum_i w_i x_i / sum_i w_i        max: max_i x_i
//   sum:           sum_i x_i                weighted sum:  sum_i w_i x_i
//
// x:       [B, N, C] elem, four channels per elem where C and the alignment allow it
// offsets: [B, N' + 1] u32; output p has members[offsets[p] .. offsets[p + 1]]
// members: [B, M] u32; N or more (NONE): skipped
// weights: [B, N] f32; read only for weighted reductions and totals
// merged:  [B, N', C] elem
// totals:  [B, N'] f32, sum_i w_i; if asked for
//
// An output without members is 0. An output with a single member is that row bit for bit, except in the weighted sum. A weighted mean whose
// weights sum to 0 is 0.
// The maximum uses the crate's order: the first of equals wins, and it is NaN only if all members are NaN.
// One invocation sums each channel in f32, and beside it smaller terms, which take its place if the sum leaves f32's range or the sum of
// weights leaves the range of divisors. So a result is infinite only if the exact result lies outside the range.
//
// Cost: one read of every member row, one write of every output.

override REDUCE: u32 = 0u; // one of the following

const MEAN = 0u;
const SUM = 1u;
const MAX = 2u;
const WEIGHTED_MEAN = 3u;
const WEIGHTED_SUM = 4u;

// The factors of weights and rows in the smaller sums. Each scaled value is below 2^(128 - 161), so the sum of products stays in range. The
// scaling loses less than 2^85. The sum that overflowed rounds at 2^104, so this loss does not matter.
const SHRINK_WEIGHT = -80;
const SHRINK_WEIGHTED = -81;

// WGSL's division is within 2.5 ulp for divisors from 2^-126 to 2^126.
fn is_divisor(value: f32) -> bool {
  return (bitcast<u32>(value) & 0x7fffffffu) <= 0x7e800000u;
}

// 2^shift, for shifts from -126 to 127.
fn power_of_two(shift: i32) -> f32 {
  return bitcast<f32>(u32(127 + clamp(shift, -126, 127)) << 23u);
}

// sum / divisor * 2^shift. Only the quotient may leave the range, so the divisor is first scaled into [1, 2).
fn wide_quotient(sum: elem_f32, divisor: f32, shift: i32, zero: u32) -> elem_f32 {
  let bits = bitcast<u32>(divisor);
  let field = (bits >> 23u) & 0xffu;
  let normal = field != 0u && field != 0xffu;
  let near_one = select(divisor, bitcast<f32>((bits & 0x807fffffu) | 0x3f800000u), normal);
  let all = shift + select(0, 127 - i32(field), normal);
  let half = made_product(sum / near_one, elem_f32(power_of_two(all / 2)), zero);
  return made_product(half, elem_f32(power_of_two(all - all / 2)), zero);
}

// What an invocation has of a column so far.
struct Column {
  last: elem,
  sum: elem_f32,
  small_sum: elem_f32,
  largest: elem,
  largest_key: elem_u32,
}

// The facts of a row that its columns share.
struct Row {
  count: u32,
  weight_sum: f32,
  // Scaled by 2^-total_shift if the plain sum leaves the range.
  total_shift: i32,
  zero: u32, // for made_product
}

fn with_member(column: Column, row: elem, weight: f32, small_weight: f32, zero: u32) -> Column {
  var next = column;
  let value = elem_f32(row);
  next.last = row;
  if REDUCE == MAX {
    let key = order_keys(value);
    next.largest = select(next.largest, row, key > next.largest_key);
    next.largest_key = max(next.largest_key, key);
  } else if REDUCE >= WEIGHTED_MEAN {
    next.sum += weight * value;
    next.small_sum += small_weight * made_product(value, elem_f32(power_of_two(SHRINK_WEIGHTED)), zero);
  } else {
    next.sum += value;
    next.small_sum += made_product(value, elem_f32(SHRINK_FACTOR), zero);
  }
  return next;
}

fn reduced(column: Column, row: Row) -> elem {
  if row.count == 1u && REDUCE != WEIGHTED_SUM { return column.last; }
  if REDUCE == MAX { return column.largest; }
  if row.count == 0u { return elem(); }
  var divisor = 1.0;
  if REDUCE == MEAN { divisor = f32(row.count); }
  if REDUCE == WEIGHTED_MEAN { divisor = row.weight_sum; }
  let sum = column.sum;
  var value = sum / divisor;
  let total_shift = select(0, row.total_shift, REDUCE == WEIGHTED_MEAN);
  let wide_total = total_shift != 0 || !is_divisor(divisor);
  if wide_total || !all_finite(sum) {
    if wide_total { value = wide_quotient(sum, divisor, -total_shift, row.zero); }
    let small_sum = column.small_sum;
    let shift = select(-SHRINK, -SHRINK_WEIGHT - SHRINK_WEIGHTED, REDUCE >= WEIGHTED_MEAN) - total_shift;
    var wide = wide_quotient(small_sum, divisor, shift, row.zero);
    if REDUCE == MEAN {
      // Rounding must not lift a mean of finite numbers above the largest float.
      wide = where_finite(small_sum, clamp(wide, elem_f32(-0x1.fffffep+127f), elem_f32(0x1.fffffep+127f)), wide);
    }
    value = where_finite(sum, value, wide);
  }
  // Tests the bits, so that a NaN does not count as 0.
  if (bitcast<u32>(divisor) & 0x7fffffffu) == 0u { return elem(); }
  return elem(value);
}

@compute @workgroup_size(128)
fn main(grid: Grid, lane: Lane) {
  let element = linear_group(grid) * 128u + lane.index;
  if element >= params.elements { return; }
  // An invocation has two columns: a member's number and weight are loaded once for both. Rows without channels still have totals.
  let half = max((params.channels + 1u) / 2u, 1u);
  let row = element / half;
  let channel = element - row * half;
  let has_near = channel < params.channels;
  let has_far = channel + half < params.channels;
  let far = select(0u, half, has_far);
  let batch = row / params.outputs;
  let offset = params.offsets_base + batch * (params.outputs + 1u) + row % params.outputs;
  let begin = offsets[offset];
  let end = min(offsets[offset + 1u], params.entries);
  let writes_total = params.with_totals != 0u && channel == 0u;
  let to = params.merged_base + row * params.channels + channel;

  // Most rows that ToMe leaves have one member. They are copied: no sums.
  if end == begin + 1u && REDUCE != WEIGHTED_SUM {
    let token = members[params.members_base + batch * params.entries + begin];
    let is_live = token < params.tokens;
    let source = batch * params.tokens + select(0u, token, is_live);
    if writes_total {
      totals[params.totals_base + row] = select(0.0, weights[params.weights_base + source], is_live);
    }
    let source_column = params.x_base + source * params.channels + channel;
    if has_near { merged[to] = select(elem(), x[source_column], is_live); }
    if has_far { merged[to + far] = select(elem(), x[source_column + far], is_live); }
    return;
  }

  var facts: Row;
  facts.zero = params.with_totals >> 1u;
  var near_column: Column;
  var far_column: Column;
  near_column.largest_key = elem_u32(KEY_DEAD);
  far_column.largest_key = elem_u32(KEY_DEAD);
  var weight = 0.0;
  var small_weight = 0.0;
  var small_weight_sum = 0.0;
  for (var m = begin; m < end; m++) {
    let token = members[params.members_base + batch * params.entries + m];
    if token >= params.tokens { continue; }
    facts.count++;
    let source = batch * params.tokens + token;
    if REDUCE >= WEIGHTED_MEAN || writes_total {
      weight = weights[params.weights_base + source];
      small_weight = bitcast<f32>(bitcast<u32>(weight * power_of_two(SHRINK_WEIGHT)) | facts.zero);
      facts.weight_sum += weight;
      small_weight_sum += small_weight;
    }
    if has_near {
      let source_column = params.x_base + source * params.channels + channel;
      let near_row = x[source_column];
      let far_row = x[source_column + far];
      near_column = with_member(near_column, near_row, weight, small_weight, facts.zero);
      far_column = with_member(far_column, far_row, weight, small_weight, facts.zero);
    }
  }
  if !is_finite(facts.weight_sum) {
    facts.weight_sum = small_weight_sum;
    facts.total_shift = -SHRINK_WEIGHT;
  }
  if writes_total {
    totals[params.totals_base + row] = select(times_power(facts.weight_sum, facts.total_shift), weight, facts.count == 1u);
  }
  if has_near { merged[to] = reduced(near_column, facts); }
  if has_far { merged[to + far] = reduced(far_column, facts); }
}
