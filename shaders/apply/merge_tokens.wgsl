// Every output row reduced over its members, in their order.
//
//   mean:          sum_i x_i / count        weighted mean: sum_i w_i x_i / sum_i w_i        max: max_i x_i
//   sum:           sum_i x_i                weighted sum:  sum_i w_i x_i
//
// x:       [B, N, C] elem, four channels in one where C and the alignment allow it
// offsets: [B, N' + 1] u32; output p has members[offsets[p] .. offsets[p + 1]]
// members: [B, M] u32; at or above N (NONE): passed over
// weights: [B, N] f32; unused without a weighted reduction and without totals
// merged:  [B, N', C] elem
// totals:  [B, N'] f32, sum_i w_i; where asked for
//
// An output without members is 0. With a single member it is that row bit for bit, but for the weighted sum. A weighted
// mean of weights that sum to 0 is 0. The maximum is in the crate's order: of equals the first, NaN only where all are.
// Sums are in f32, one invocation's for each channel.
//
// Cost: every member row is read once, every output written once.

const MEAN = 0u;
const SUM = 1u;
const MAX = 2u;
const WEIGHTED_MEAN = 3u;
const WEIGHTED_SUM = 4u;

@compute @workgroup_size(128)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  lane: Lane,
) {
  let element = linear_group(group, groups) * 128u + lane.index;
  if element >= params.elements { return; }
  let columns = max(params.channels, 1u); // rows without channels have totals
  let channel = element % columns;
  let row = element / columns;
  let batch = row / params.outputs;
  let offset = params.offsets_base + batch * (params.outputs + 1u) + row % params.outputs;
  let begin = offsets[offset];
  let end = min(offsets[offset + 1u], params.entries);
  let writes_total = params.with_totals != 0u && channel == 0u;

  var count = 0u;
  var last = elem();
  var last_weight = 0.0;
  var sum = elem_f32();
  var weight_sum = 0.0;
  var largest = elem();
  var largest_key = elem_u32(KEY_DEAD);
  for (var m = begin; m < end; m++) {
    let token = members[params.members_base + batch * params.entries + m];
    if token >= params.tokens { continue; }
    count++;
    let source = batch * params.tokens + token;
    if params.channels > 0u {
      last = x[params.x_base + source * params.channels + channel];
    }
    if params.reduce >= WEIGHTED_MEAN || writes_total {
      last_weight = weights[params.weights_base + source];
      weight_sum += last_weight;
    }
    if params.reduce == MAX {
      let key = order_keys(elem_f32(last));
      largest = select(largest, last, key > largest_key);
      largest_key = max(largest_key, key);
    } else if params.reduce >= WEIGHTED_MEAN {
      sum += last_weight * elem_f32(last);
    } else {
      sum += elem_f32(last);
    }
  }

  if writes_total {
    totals[params.totals_base + row] = select(weight_sum, last_weight, count == 1u);
  }
  var result = elem();
  if count == 1u && params.reduce != WEIGHTED_SUM {
    result = last;
  } else if count > 0u {
    switch params.reduce {
      case MEAN: { result = elem(sum / f32(count)); }
      case MAX: { result = largest; }
      case WEIGHTED_MEAN: {
        // On the bits: a NaN is not 0 either.
        if (bitcast<u32>(weight_sum) & 0x7fffffffu) != 0u {
          result = elem(sum / weight_sum);
        }
      }
      default: { result = elem(sum); }
    }
  }
  if params.channels > 0u {
    merged[params.merged_base + element] = result;
  }
}
