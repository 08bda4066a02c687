// Reductions and scans over a workgroup of WG invocations (a power of two), in a fixed order. They go first within each subgroup, then over
// the subgroups in ascending order. Any subgroup size works.
// Call from uniform control flow. Every invocation gets the result.
override WG: u32 = 128u;
var<workgroup> reduce_f32: array<f32, WG>;
var<workgroup> reduce_u32: array<u32, WG>;

fn reduce_add(lane: Lane, value: f32) -> f32 {
  let part = subgroupAdd(value);
  if lane.in_subgroup == 0u {
    reduce_f32[lane.subgroup] = part;
  }
  workgroupBarrier();
  var total = 0.0;
  for (var i = 0u; i < lane.subgroups; i++) {
    total += reduce_f32[i];
  }
  workgroupBarrier(); // the next call writes the array again
  return total;
}

fn reduce_max(lane: Lane, value: f32) -> f32 {
  let part = subgroupMax(value);
  if lane.in_subgroup == 0u {
    reduce_f32[lane.subgroup] = part;
  }
  workgroupBarrier();
  var largest = reduce_f32[0];
  for (var i = 1u; i < lane.subgroups; i++) {
    largest = max(largest, reduce_f32[i]);
  }
  workgroupBarrier(); // the next call writes the array again
  return largest;
}

fn reduce_add_u32(lane: Lane, value: u32) -> u32 {
  return scan_add(lane, value).total;
}

// This invocation's place in the order in which scan_add counts: a permutation of 0..WG. Subgroups need not hold consecutive invocations.
// But all except the last are full if WG is a multiple of their size. This holds because both are powers of two.
fn scan_rank(lane: Lane) -> u32 {
  return lane.subgroup * lane.subgroup_size + lane.in_subgroup;
}

// The sum over all invocations with a lower scan_rank, and the sum over all.
struct Scan {
  before: u32,
  total: u32,
}

fn scan_add(lane: Lane, value: u32) -> Scan {
  let within = subgroupExclusiveAdd(value);
  let part = subgroupAdd(value);
  if lane.in_subgroup == 0u {
    reduce_u32[lane.subgroup] = part;
  }
  workgroupBarrier();
  var before = 0u;
  var total = 0u;
  for (var i = 0u; i < lane.subgroups; i++) {
    if i == lane.subgroup {
      before = total;
    }
    total += reduce_u32[i];
  }
  workgroupBarrier(); // the next call writes the array again
  return Scan(before + within, total);
}

