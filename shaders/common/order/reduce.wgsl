// Reductions and scans over a workgroup of WG invocations (a power of two), in a fixed order.
// Call from uniform control flow. Every invocation gets the result.
override WG: u32 = 128u;
var<workgroup> reduce_f32: array<f32, WG>;
var<workgroup> reduce_u32: array<u32, WG>;

fn reduce_add(lane: Lane, value: f32) -> f32 {
  reduce_f32[lane.index] = value;
  workgroupBarrier();
  for (var stride = WG / 2u; stride > 0u; stride /= 2u) {
    if lane.index < stride {
      reduce_f32[lane.index] += reduce_f32[lane.index + stride];
    }
    workgroupBarrier();
  }
  let total = reduce_f32[0];
  workgroupBarrier(); // the next call writes the array again
  return total;
}

fn reduce_max(lane: Lane, value: f32) -> f32 {
  reduce_f32[lane.index] = value;
  workgroupBarrier();
  for (var stride = WG / 2u; stride > 0u; stride /= 2u) {
    if lane.index < stride {
      reduce_f32[lane.index] = max(reduce_f32[lane.index], reduce_f32[lane.index + stride]);
    }
    workgroupBarrier();
  }
  let largest = reduce_f32[0];
  workgroupBarrier(); // the next call writes the array again
  return largest;
}

fn reduce_add_u32(lane: Lane, value: u32) -> u32 {
  reduce_u32[lane.index] = value;
  workgroupBarrier();
  for (var stride = WG / 2u; stride > 0u; stride /= 2u) {
    if lane.index < stride {
      reduce_u32[lane.index] += reduce_u32[lane.index + stride];
    }
    workgroupBarrier();
  }
  let total = reduce_u32[0];
  workgroupBarrier(); // the next call writes the array again
  return total;
}

// This invocation's place in the order in which scan_add counts: a permutation of 0..WG.
fn scan_rank(lane: Lane) -> u32 {
  return lane.index;
}

// The sum over all invocations with a lower scan_rank, and the sum over all.
struct Scan {
  before: u32,
  total: u32,
}

fn scan_add(lane: Lane, value: u32) -> Scan {
  reduce_u32[lane.index] = value;
  workgroupBarrier();
  for (var stride = 1u; stride < WG; stride *= 2u) {
    var sum = reduce_u32[lane.index];
    if lane.index >= stride {
      sum += reduce_u32[lane.index - stride];
    }
    workgroupBarrier(); // wait until all have read, before any writes
    reduce_u32[lane.index] = sum;
    workgroupBarrier();
  }
  let scan = Scan(reduce_u32[lane.index] - value, reduce_u32[WG - 1u]);
  workgroupBarrier(); // the next call writes the array again
  return scan;
}

