// As lane_sums.wgsl, for GPUs: sums of eight invocations first, then the sum of these. So nobody waits for 128 additions.
var<workgroup> lane_parts: array<vec2<f32>, 128>;
var<workgroup> lane_bits: array<vec2<u32>, 128>;
var<workgroup> eight_parts: array<vec2<f32>, 128>;
var<workgroup> eight_bits: array<vec2<u32>, 128>;

struct SumMax {
  sum: vec2<f32>,
  largest: vec2<u32>,
}

fn sum_max_of_lanes(lane: Lane, lanes_log2: u32, part: vec2<f32>, bits: vec2<u32>) -> SumMax {
  workgroupBarrier(); // wait until the previous sums have been read
  lane_parts[lane.index] = part;
  lane_bits[lane.index] = bits;
  workgroupBarrier();
  let eight = lane.index & ~7u;
  var sum = vec2<f32>();
  var largest = vec2<u32>();
  for (var i = 0u; i < 8u; i++) {
    sum += lane_parts[eight + i];
    largest = max(largest, lane_bits[eight + i]);
  }
  eight_parts[lane.index] = sum;
  eight_bits[lane.index] = largest;
  workgroupBarrier();
  let first = lane.index & ~((1u << lanes_log2) - 1u);
  var all = SumMax();
  for (var i = 0u; i < 1u << lanes_log2; i += 8u) {
    all.sum += eight_parts[first + i];
    all.largest = max(all.largest, eight_bits[first + i]);
  }
  return all;
}

fn sum_of_lanes(lane: Lane, lanes_log2: u32, part: vec2<f32>) -> vec2<f32> {
  workgroupBarrier(); // wait until the previous sums have been read
  lane_parts[lane.index] = part;
  workgroupBarrier();
  let eight = lane.index & ~7u;
  var sum = vec2<f32>();
  for (var i = 0u; i < 8u; i++) {
    sum += lane_parts[eight + i];
  }
  eight_parts[lane.index] = sum;
  workgroupBarrier();
  let first = lane.index & ~((1u << lanes_log2) - 1u);
  var all = vec2<f32>();
  for (var i = 0u; i < 1u << lanes_log2; i += 8u) {
    all += eight_parts[first + i];
  }
  return all;
}

