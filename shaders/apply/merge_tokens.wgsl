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

@compute @workgroup_size(128)
fn main(grid: Grid, lane: Lane) {
  let element = linear_group(grid) * 128u + lane.index;
  if element >= params.elements { return; }
  let columns = max(params.channels, 1u); // rows without channels still have totals
  let channel = element % columns;
  let row = element / columns;
  let batch = row / params.outputs;
  let offset = params.offsets_base + batch * (params.outputs + 1u) + row % params.outputs;
  let begin = offsets[offset];
  let end = min(offsets[offset + 1u], params.entries);
  let writes_total = params.with_totals != 0u && channel == 0u;

  // Most rows that ToMe leaves have one member. They are copied: no sums.
  if end == begin + 1u && REDUCE != WEIGHTED_SUM {
    let token = members[params.members_base + batch * params.entries + begin];
    let is_live = token < params.tokens;
    let source = batch * params.tokens + select(0u, token, is_live);
    if writes_total {
      totals[params.totals_base + row] = select(0.0, weights[params.weights_base + source], is_live);
    }
    if params.channels > 0u {
      merged[params.merged_base + element] = select(elem(), x[params.x_base + source * params.channels + channel], is_live);
    }
    return;
  }

  var count = 0u;
  var last = elem();
  var last_weight = 0.0;
  var sum = elem_f32();
  var weight_sum = 0.0;
  var largest = elem();
  var largest_key = elem_u32(KEY_DEAD);
  var small_sum = elem_f32();
  var small_weight = 0.0;
  var small_weight_sum = 0.0;
  let weighted = REDUCE >= WEIGHTED_MEAN;
  let factor = elem_f32(select(SHRINK_FACTOR, power_of_two(SHRINK_WEIGHTED), weighted)); // for the rows
  let zero = params.with_totals >> 1u; // for made_product
  for (var m = begin; m < end; m++) {
    let token = members[params.members_base + batch * params.entries + m];
    if token >= params.tokens { continue; }
    count++;
    let source = batch * params.tokens + token;
    if params.channels > 0u {
      last = x[params.x_base + source * params.channels + channel];
    }
    let value = elem_f32(last);
    if REDUCE == MAX {
      let key = order_keys(value);
      largest = select(largest, last, key > largest_key);
      largest_key = max(largest_key, key);
    }
    let small = made_product(value, factor, zero);
    if weighted || writes_total {
      last_weight = weights[params.weights_base + source];
      small_weight = bitcast<f32>(bitcast<u32>(last_weight * power_of_two(SHRINK_WEIGHT)) | zero);
      weight_sum += last_weight;
      small_weight_sum += small_weight;
    }
    if weighted {
      sum += last_weight * value;
      small_sum += small_weight * small;
    } else {
      sum += value;
      small_sum += small;
    }
  }
  let again = !(all_finite(sum) && is_divisor(weight_sum));

  var total_shift = 0;
  if !is_finite(weight_sum) {
    weight_sum = small_weight_sum;
    total_shift = -SHRINK_WEIGHT;
  }
  if writes_total {
    totals[params.totals_base + row] = select(times_power(weight_sum, total_shift), last_weight, count == 1u);
  }
  var result = elem();
  if count == 1u && REDUCE != WEIGHTED_SUM {
    result = last;
  } else if REDUCE == MAX {
    result = largest;
  } else if count > 0u {
    var divisor = 1.0;
    if REDUCE == MEAN { divisor = f32(count); }
    if REDUCE == WEIGHTED_MEAN { divisor = weight_sum; }
    var value = sum / divisor;
    if again {
      if REDUCE != WEIGHTED_MEAN {
        total_shift = 0;
      } else if total_shift != 0 || !is_divisor(divisor) {
        value = wide_quotient(sum, divisor, -total_shift, zero);
      }
      let shift = select(-SHRINK, -SHRINK_WEIGHT - SHRINK_WEIGHTED, weighted) - total_shift;
      var wide = wide_quotient(small_sum, divisor, shift, zero);
      if REDUCE == MEAN {
        // Rounding must not lift a mean of finite numbers above the largest float.
        wide = where_finite(small_sum, clamp(wide, elem_f32(-0x1.fffffep+127f), elem_f32(0x1.fffffep+127f)), wide);
      }
      value = where_finite(sum, value, wide);
    }
    // Tests the bits, so that a NaN does not count as 0.
    if (bitcast<u32>(divisor) & 0x7fffffffu) != 0u { result = elem(value); }
  }
  if params.channels > 0u {
    merged[params.merged_base + element] = result;
  }
}
