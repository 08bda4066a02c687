// Whole budgets in proportion to weights, which add up to the total.
//
//   budget_i = min(minimum, capacity_i), the first ones where the total does not suffice for all; then, of what is left (`rest`),
//   share_i = floor(rest q_i / sum q) over those below their capacity. Where some share exceeds what there is room for, those
//   are filled up and the others' shares are taken anew. Else all get their share, and what is left of `rest` goes one by one to
//   the largest remainders, or the largest weights; the lowest index of equal ones.
//
// weights:    [B, S] f32; NaN and what is below 0 counts as 0, and that of a segment without capacity
// totals:     [B] u32
// capacities: [B, S] u32
// budgets:    [B, S] u32
//
// q is the weight as a 16-bit integer, at the scale at which the row's largest has 16 bits; 1 for all where all are 0. Totals and
// capacities count as at most 2^31 - 1. Everything is exact: products beyond 32 bits are divided bit by bit.
//
// One workgroup a row. Cost: a few reads of each number; S^2 steps for the remainders.

const LANES = 128u;
const MOST = 0x7fffffffu;
const EXTRA = 0x80000000u; // of a budget: one more, to be added when all ranks are known
var<workgroup> largest: atomic<u32>;
var<workgroup> sum: atomic<u32>;
var<workgroup> open: atomic<u32>;
var<workgroup> given: atomic<u32>;
var<workgroup> crowded: atomic<u32>;
var<workgroup> rest: u32;

// The bits of a weight; 0 for what counts as 0.
fn bits_of(i: u32) -> u32 {
  let bits = bitcast<u32>(weights[params.weights_base + i]);
  return select(bits, 0u, bits > 0x7f800000u || capacities[params.capacities_base + i] == 0u);
}

// The weight as a 16-bit integer, of which the largest has bits `most`.
fn integer_of(i: u32, most: u32) -> u32 {
  let bits = bits_of(i);
  let fraction = (bits & 0x007fffffu) | select(0x00800000u, 0u, bits < 0x00800000u);
  let shift = max(most >> 23u, 1u) - max(bits >> 23u, 1u);
  return fraction >> min(8u + shift, 31u);
}

// The whole part of left q / all, and the rest. q is at most `all`, so that the former is at most `left`.
fn divided(left: u32, q: u32, all: u32) -> vec2<u32> {
  if left <= 0xffffu { return vec2<u32>(left * q / all, left * q % all); }
  // The product's two halves: q has 16 bits.
  let low = (left & 0xffffu) * q;
  let middle = (left >> 16u) * q + (low >> 16u);
  let digits = (middle << 16u) | (low & 0xffffu);
  var rest_of = middle >> 16u;
  var whole = 0u;
  for (var bit = 32u; bit > 0u; bit--) {
    let carried = rest_of >> 31u;
    rest_of = (rest_of << 1u) | ((digits >> (bit - 1u)) & 1u);
    whole <<= 1u;
    if carried == 1u || rest_of >= all {
      rest_of -= all;
      whole |= 1u;
    }
  }
  return vec2<u32>(whole, rest_of);
}

fn room_of(i: u32) -> u32 {
  return min(capacities[params.capacities_base + i], MOST) - (budgets[params.budgets_base + i] & ~EXTRA);
}

@compute @workgroup_size(128)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  lane: Lane,
) {
  let row = linear_group(group, groups);
  if row >= params.rows { return; }
  let first = row * params.segments + lane.index;
  let end = (row + 1u) * params.segments;
  if lane.index == 0u {
    atomicStore(&largest, 0u);
    var left = min(totals[params.totals_base + row], MOST);
    for (var i = first; i < end; i++) {
      let budget = min(min(params.minimum, left), min(capacities[params.capacities_base + i], MOST));
      budgets[params.budgets_base + i] = budget;
      left -= budget;
    }
    rest = left;
  }
  storageBarrier();
  workgroupBarrier();
  for (var i = first; i < end; i += LANES) {
    atomicMax(&largest, bits_of(i));
  }
  workgroupBarrier();
  let most = atomicLoad(&largest);

  // Each round but the last fills up a segment, or all of them.
  for (var round = 0u; round < params.segments + 2u; round++) {
    let left = workgroupUniformLoad(&rest);
    if left == 0u { break; }
    if lane.index == 0u {
      atomicStore(&sum, 0u);
      atomicStore(&open, 0u);
      atomicStore(&given, 0u);
      atomicStore(&crowded, 0u);
    }
    workgroupBarrier();
    for (var i = first; i < end; i += LANES) {
      if room_of(i) > 0u {
        atomicAdd(&sum, integer_of(i, most));
        atomicAdd(&open, 1u);
      }
    }
    workgroupBarrier();
    let weighted = atomicLoad(&sum) > 0u;
    let all = max(select(atomicLoad(&open), atomicLoad(&sum), weighted), 1u);
    for (var i = first; i < end; i += LANES) {
      let room = room_of(i);
      let share = divided(left, select(1u, integer_of(i, most), weighted), all).x;
      if room > 0u && share > room {
        atomicStore(&crowded, 1u);
      }
    }
    workgroupBarrier();
    let crowds = atomicLoad(&crowded) == 1u;
    for (var i = first; i < end; i += LANES) {
      let room = room_of(i);
      let share = divided(left, select(1u, integer_of(i, most), weighted), all).x;
      let taken = select(select(share, 0u, crowds), room, share > room);
      if room > 0u {
        budgets[params.budgets_base + i] += taken;
        atomicAdd(&given, taken);
      }
    }
    storageBarrier();
    workgroupBarrier();
    let over = select(left - atomicLoad(&given), 0u, crowds);
    for (var i = first; i < end; i += LANES) {
      let own = select(divided(left, select(1u, integer_of(i, most), weighted), all).y, bits_of(i), params.by_weight != 0u);
      var rank = 0u;
      for (var j = row * params.segments; j < end; j++) {
        let other = select(divided(left, select(1u, integer_of(j, most), weighted), all).y, bits_of(j), params.by_weight != 0u);
        rank += select(0u, 1u, room_of(j) > 0u && (other > own || (other == own && j < i)));
      }
      if room_of(i) > 0u && rank < over {
        budgets[params.budgets_base + i] |= EXTRA;
      }
    }
    storageBarrier();
    workgroupBarrier();
    for (var i = first; i < end; i += LANES) {
      let budget = budgets[params.budgets_base + i];
      if budget >= EXTRA {
        budgets[params.budgets_base + i] = budget - EXTRA + 1u;
        atomicAdd(&given, 1u);
      }
    }
    workgroupBarrier();
    if lane.index == 0u {
      let now = atomicLoad(&given);
      // Without anything given no segment has room.
      rest = select(0u, left - now, now > 0u);
    }
    workgroupBarrier();
  }
}
