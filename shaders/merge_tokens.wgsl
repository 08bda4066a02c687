// Every output row reduced over its members, in their order.
//
//   mean:          sum_i x_i / count        weighted mean: sum_i w_i x_i / sum_i w_i        max: max_i x_i
//   sum:           sum_i x_i                weighted sum:  sum_i w_i x_i
//
// x:       [B, N, C] elem, four channels in one where C and the alignment allow it
// offsets: [B, N' + 1] u32; output p has members[offsets[p] .. offsets[p + 1]]
// members: [B, M] u32; at or above N (NONE): passed over
// weights: [B, N] f32; unused without a weighted reduction
// merged:  [B, N', C] elem
//
// An output without members is 0. With a single member it is that row bit for bit, but for the weighted sum. A weighted
// mean of weights that sum to 0 is 0. The maximum is in the crate's order: of equals the first, NaN only where all are.
// Sums are in f32, one invocation's for each channel.
//
// Cost: every member row is read once, every output written once.
struct Params {
  x_base: u32,
  offsets_base: u32,
  members_base: u32,
  weights_base: u32,
  merged_base: u32,
  elements: u32, // of the output, in elems
  tokens: u32,
  outputs: u32,
  channels: u32, // in elems
  entries: u32, // M
  reduce: u32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<elem>;
@group(0) @binding(2) var<storage, read> offsets: array<u32>;
@group(0) @binding(3) var<storage, read> members: array<u32>;
@group(0) @binding(4) var<storage, read> weights: array<f32>;
@group(0) @binding(5) var<storage, read_write> merged: array<elem>;

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
  let channel = element % params.channels;
  let row = element / params.channels;
  let batch = row / params.outputs;
  let offset = params.offsets_base + batch * (params.outputs + 1u) + row % params.outputs;
  let begin = offsets[offset];
  let end = min(offsets[offset + 1u], params.entries);

  var count = 0u;
  var only = 0u; // element of the last member
  var sum = elem_f32();
  var weight_sum = 0.0;
  var largest = elem();
  var largest_key = elem_u32(KEY_DEAD);
  for (var m = begin; m < end; m++) {
    let token = members[params.members_base + batch * params.entries + m];
    if token >= params.tokens { continue; }
    count++;
    let source = batch * params.tokens + token;
    only = params.x_base + source * params.channels + channel;
    let value = x[only];
    if params.reduce == MAX {
      let key = order_keys(elem_f32(value));
      largest = select(largest, value, key > largest_key);
      largest_key = max(largest_key, key);
    } else if params.reduce >= WEIGHTED_MEAN {
      let weight = weights[params.weights_base + source];
      sum += weight * elem_f32(value);
      weight_sum += weight;
    } else {
      sum += elem_f32(value);
    }
  }

  var result = elem();
  if count == 1u && params.reduce != WEIGHTED_SUM {
    result = x[only];
  } else if count > 0u {
    switch params.reduce {
      case MEAN: { result = elem(sum / f32(count)); }
      case MAX: { result = largest; }
      case WEIGHTED_MEAN: {
        if weight_sum != 0.0 {
          result = elem(sum / weight_sum);
        }
      }
      default: { result = elem(sum); }
    }
  }
  merged[params.merged_base + element] = result;
}
