// Sums and maxima over the 2^`lanes_log2` neighbouring invocations, at least eight, that share a row. Sums go in the order of the
// invocations. Call from uniform control flow, and `sum_max_of_lanes` once: nothing waits before it writes. Every invocation gets its row's
// result.
var<workgroup> lane_parts: array<vec2<f32>, 128>;
var<workgroup> lane_bits: array<vec2<u32>, 128>;

struct SumMax {
  sum: vec2<f32>,
  largest: vec2<u32>,
}

fn sum_max_of_lanes(lane: Lane, lanes_log2: u32, part: vec2<f32>, bits: vec2<u32>) -> SumMax {
  lane_bits[lane.index] = bits;
  lane_parts[lane.index] = part;
  workgroupBarrier();
  let first = lane.index & ~((1u << lanes_log2) - 1u);
  var all = SumMax();
  for (var i = 0u; i < 1u << lanes_log2; i++) {
    all.sum += lane_parts[first + i];
    all.largest = max(all.largest, lane_bits[first + i]);
  }
  return all;
}

fn sum_of_lanes(lane: Lane, lanes_log2: u32, part: vec2<f32>) -> vec2<f32> {
  workgroupBarrier(); // wait until the previous sums have been read
  lane_parts[lane.index] = part;
  workgroupBarrier();
  let first = lane.index & ~((1u << lanes_log2) - 1u);
  var sum = vec2<f32>();
  for (var i = 0u; i < 1u << lanes_log2; i++) {
    sum += lane_parts[first + i];
  }
  return sum;
}

