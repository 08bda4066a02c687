// Splits each total into integer budgets in proportion to weights.
//
//   budget_i = min(minimum, capacity_i); if the total does not suffice for all, the first ones get theirs
//   Then `rest` is what is left: share_i = floor(rest q_i / sum q), over the segments below their capacity.
//   If a share exceeds its segment's room, all such segments are filled, and the others' shares are computed again.
//   Otherwise all get their shares. What is then left of `rest` goes one by one to the largest remainders, or to the
//   largest weights; of equal ones, to the lowest index.
//
// weights:    [B, S] f32; NaN and negative weights count as 0, and so does the weight of a segment without capacity
// totals:     [B] u32
// capacities: [B, S] u32
// budgets:    [B, S] u32
// keys:       [B, S] u32, scratch: who comes first for what is left; 0 for a segment without room
//
// q is the weight as a 16-bit integer, scaled so that the row's largest weight has 16 bits. If all weights are 0, q is 1 for all. Totals
// and capacities count as at most 2^31 - 1. Everything is exact: products of more than 32 bits are divided bit by bit.
//
// One workgroup per row, or one invocation for a short row. Cost: a few reads of each number; 32 passes over the keys of a row to deal out
// what is left.

const MOST = 0x7fffffffu;
var<workgroup> largest: array<atomic<u32>, TEAMS>;
var<workgroup> sum: array<atomic<u32>, TEAMS>;
var<workgroup> open: array<atomic<u32>, TEAMS>;
var<workgroup> given: array<atomic<u32>, TEAMS>;
var<workgroup> crowded: array<atomic<u32>, TEAMS>;

// The bits of a weight; 0 for a weight that counts as 0.
fn bits_of(i: u32) -> u32 {
  let bits = bitcast<u32>(weights[params.weights_base + i]);
  return select(bits, 0u, bits > 0x7f800000u || capacities[params.capacities_base + i] == 0u);
}

// The weight as a 16-bit integer, where `most` holds the bits of the largest weight.
fn integer_of(i: u32, most: u32) -> u32 {
  let bits = bits_of(i);
  let fraction = (bits & 0x007fffffu) | select(0x00800000u, 0u, bits < 0x00800000u);
  let shift = max(most >> 23u, 1u) - max(bits >> 23u, 1u);
  return fraction >> min(8u + shift, 31u);
}

// The quotient and the remainder of left q / all. q is at most `all`, so the quotient is at most `left`.
fn divided(left: u32, q: u32, all: u32) -> vec2<u32> {
  if left <= 0xffffu { return vec2<u32>(left * q / all, left * q % all); }
  // The product in two parts. q has 16 bits.
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
  return min(capacities[params.capacities_base + i], MOST) - budgets[params.budgets_base + i];
}

// How many of this invocation's segments have such a key or a larger one.
fn reaching(first: u32, end: u32, key: u32) -> u32 {
  var count = 0u;
  for (var i = first; i < end; i += TEAM) {
    count += select(0u, 1u, keys[params.keys_base + i] >= key);
  }
  return count;
}

@compute @workgroup_size(GROUP)
fn main(grid: Grid, lane: Lane) {
  let row = team_row(grid, lane);
  if row >= params.rows { return; }
  let team = team_number(lane);
  let first = row * params.segments + team_lane(lane);
  let end = (row + 1u) * params.segments;
  var rest = min(totals[params.totals_base + row], MOST); // only the first invocation's copy counts
  if team_lane(lane) == 0u {
    atomicStore(&largest[team], 0u);
    for (var i = first; i < end; i++) {
      let budget = min(min(params.minimum, rest), min(capacities[params.capacities_base + i], MOST));
      budgets[params.budgets_base + i] = budget;
      rest -= budget;
    }
  }
  team_storage_barrier();
  team_barrier();
  for (var i = first; i < end; i += TEAM) {
    atomicMax(&largest[team], bits_of(i));
  }
  team_barrier();
  let most = atomicLoad(&largest[team]);

  // Each round except the last fills a segment, or all of them.
  for (var round = 0u; round < params.segments + 2u; round++) {
    let left = team_uniform(lane, rest);
    if left == 0u { break; }
    if team_lane(lane) == 0u {
      atomicStore(&sum[team], 0u);
      atomicStore(&open[team], 0u);
      atomicStore(&given[team], 0u);
      atomicStore(&crowded[team], 0u);
    }
    team_barrier();
    for (var i = first; i < end; i += TEAM) {
      if room_of(i) > 0u {
        atomicAdd(&sum[team], integer_of(i, most));
        atomicAdd(&open[team], 1u);
      }
    }
    team_barrier();
    let weighted = atomicLoad(&sum[team]) > 0u;
    let all = max(select(atomicLoad(&open[team]), atomicLoad(&sum[team]), weighted), 1u);
    for (var i = first; i < end; i += TEAM) {
      let room = room_of(i);
      let share = divided(left, select(1u, integer_of(i, most), weighted), all).x;
      if room > 0u && share > room {
        atomicStore(&crowded[team], 1u);
      }
    }
    team_barrier();
    let crowds = atomicLoad(&crowded[team]) == 1u;
    for (var i = first; i < end; i += TEAM) {
      let room = room_of(i);
      let split = divided(left, select(1u, integer_of(i, most), weighted), all);
      let taken = select(select(split.x, 0u, crowds), room, split.x > room);
      if room > 0u {
        budgets[params.budgets_base + i] += taken;
        atomicAdd(&given[team], taken);
      }
      keys[params.keys_base + i] = select(0u, 1u + select(split.y, bits_of(i), params.by_weight != 0u), room > taken);
    }
    team_storage_barrier();
    team_barrier();
    let over = select(left - atomicLoad(&given[team]), 0u, crowds);
    let wanted = team_uniform(lane, over);
    if wanted > 0u {
      // The largest key that at least `wanted` segments reach, bit by bit; 0 if there are fewer segments with room.
      var least = 0u;
      for (var bit = 0x80000000u; bit > 0u; bit >>= 1u) {
        if reduce_add_u32(lane, reaching(first, end, least | bit)) >= wanted {
          least |= bit;
        }
      }
      // The segments above it get one more each. What is then left goes to those that have this key, from the lowest index on.
      let above = reduce_add_u32(lane, reaching(first, end, least + 1u));
      var ties = wanted - above;
      for (var tile = row * params.segments; tile < end; tile += TEAM) {
        let i = tile + scan_rank(lane);
        var key = 0u;
        if i < end {
          key = keys[params.keys_base + i];
        }
        let tied = key == least && key > 0u;
        let scan = scan_add(lane, select(0u, 1u, tied));
        if key > least || (tied && scan.before < ties) {
          budgets[params.budgets_base + i] += 1u;
          atomicAdd(&given[team], 1u);
        }
        ties -= min(ties, scan.total);
      }
      team_storage_barrier(); // other lanes read these budgets in the next round
    }
    team_barrier();
    if team_lane(lane) == 0u {
      let now = atomicLoad(&given[team]);
      // If nothing was given, no segment has room.
      rest = select(0u, left - now, now > 0u);
    }
    team_barrier();
  }
}
