// A step of facility location in greedy_select: the token that the step before found is selected, and what each other one would gain is made.
//
//   gain_i = sum_j max(0, cos(i, j) - state_j)           state_j = max(0, cos(j, s) over the selected s)
//   rank_i: the order of gain_i weight_i, or of gain_i + weight_i for ADDITIVE 1
//
// counts:  [B] u32, tokens to select
// given:   [G] or [B, G] u32, tokens selected before all others; NONE, repeated and dead ones are skipped
// indices: [B, K] u32, in order of selection
// kept:    [B] u32
// memory:  [B, stride] of four u32, as in greedy_select: ranks, states, weights and tallies; a state of UNCOUNTED is that of a token which counts
//          for none
// gram:    [batch rows of the dispatch, N, N / 4] of four f32, from greedy_select.gram; N rounded up to 64
//
// Keys, ties and NaN are as in greedy_select. A workgroup has 64 tokens; each of 8 invocations adds up the terms of every 8th token, and their
// sums are added in order. Every workgroup finds the winner by itself.
//
// Cost: one read of the matrix for each selected token.

override ADDITIVE: u32;

const NONE = 0xffffffffu;
const UNCOUNTED = 3.4028234e38;
const LANES = 128u;
const FOURS = 16u; // fours of tokens of a workgroup
const PARTS = 8u; // invocations that share a sum

var<workgroup> keys: array<u32, 128>;
var<workgroup> owners: array<u32, 128>;
var<workgroup> sums: array<vec4<f32>, 128>;
var<workgroup> winner: u32;
var<workgroup> wanted: u32;
var<workgroup> tally: vec4<u32>;
var<workgroup> first_given: atomic<u32>;

// Entry `first` becomes the best of `count` entries.
fn best_of(first: u32, count: u32, step: u32) {
  var key = keys[first];
  var owner = owners[first];
  for (var i = 1u; i < count; i++) {
    let other = keys[first + i * step];
    let other_owner = owners[first + i * step];
    let better = other > key || (other == key && other_owner < owner);
    key = select(key, other, better);
    owner = select(owner, other_owner, better);
  }
  keys[first] = key;
  owners[first] = owner;
}

@compute @workgroup_size(128)
fn main(grid: Grid, lane: Lane) {
  let id = linear_group(grid);
  if id >= params.groups { return; }
  let row_of_dispatch = id / params.parts;
  let batch = params.first_batch + row_of_dispatch;
  let part = id % params.parts;
  let fours = (params.tokens + 3u) / 4u;
  let step = params.first;
  let ranks = params.memory_base + batch * params.stride;
  let states = ranks + 2u * fours;
  let weights = states + 2u * fours;
  let tallies = weights + fours;
  let across = (fours + 15u) / 16u * 16u; // of the matrix
  let matrix = params.gram_base + row_of_dispatch * 4u * across * across;
  if lane.index == 0u {
    wanted = min(counts[params.counts_base + batch], params.k);
    tally = memory[tallies + step % 2u];
    winner = NONE;
  }
  let count = workgroupUniformLoad(&wanted);
  let done_before = workgroupUniformLoad(&tally);
  var selected = done_before.x;
  var next_given = done_before.z;
  let ranks_before = ranks + step % 2u * fours;
  let ranks_after = ranks + (step + 1u) % 2u * fours;
  let states_before = states + step % 2u * fours;
  let states_after = states + (step + 1u) % 2u * fours;

  // The first step has no ranks yet, and selects nothing.
  if step > 0u && selected < count {
    var found = NONE;
    while found == NONE && next_given < params.given_count {
      if lane.index == 0u {
        atomicStore(&first_given, NONE);
      }
      workgroupBarrier();
      let entry = next_given + lane.index;
      if entry < params.given_count {
        let token = given[params.given_base + batch * params.given_stride + entry];
        let within = min(token, params.tokens - 1u);
        if token == within && memory[ranks_before + within / 4u][within % 4u] != KEY_DEAD {
          atomicMin(&first_given, entry);
        }
      }
      found = workgroupUniformLoad(&first_given);
      next_given = select(found + 1u, next_given + LANES, found == NONE);
    }
    if found == NONE {
      var key = KEY_DEAD;
      var owner = NONE;
      for (var token = lane.index; token < params.tokens; token += LANES) {
        let other = memory[ranks_before + token / 4u][token % 4u];
        owner = select(owner, token, other > key);
        key = max(key, other);
      }
      keys[lane.index] = key;
      owners[lane.index] = owner;
      workgroupBarrier();
      if lane.index < 16u {
        best_of(lane.index * 8u, 8u, 1u);
      }
      workgroupBarrier();
      if lane.index == 0u {
        best_of(0u, 16u, 8u);
        winner = owners[0];
      }
    } else if lane.index == 0u {
      winner = given[params.given_base + batch * params.given_stride + found];
    }
  }
  let chosen = workgroupUniformLoad(&winner);
  let within = min(chosen, params.tokens - 1u);
  // A token with a NaN or an infinity changes nothing.
  let steers = chosen != NONE && memory[ranks_before + within / 4u][within % 4u] != KEY_NAN;
  let row_of_chosen = matrix + within * across;

  let four = part * FOURS + lane.index % FOURS;
  let at = min(four, fours - 1u);
  // After the last there is nothing to gain.
  let shares = select(0u, params.tokens, step < params.last && (step == 0u || chosen != NONE));
  var sum = vec4<f32>();
  for (var token = lane.index / FOURS; token < shares; token += PARTS) {
    let before = bitcast<f32>(memory[states_before + token / 4u][token % 4u]);
    var state = before;
    if steers { state = max(before, gram[row_of_chosen + token / 4u][token % 4u]); }
    if before < UNCOUNTED {
      sum += max(gram[matrix + token * across + at] - vec4<f32>(state), vec4<f32>());
    }
  }
  sums[lane.index] = sum;
  workgroupBarrier();
  if lane.index < FOURS && four < fours {
    sum = sums[lane.index];
    for (var i = 1u; i < PARTS; i++) {
      sum += sums[lane.index + i * FOURS];
    }
    let old = memory[ranks_before + four];
    let weight = bitcast<vec4<f32>>(memory[weights + four]);
    let before = bitcast<vec4<f32>>(memory[states_before + four]);
    let score = select(sum * weight, sum + weight, vec4<bool>(ADDITIVE == 1u));
    let tokens = vec4<u32>(4u * four) + vec4<u32>(0u, 1u, 2u, 3u);
    let key = max(
      vec4<u32>(order_key(score.x), order_key(score.y), order_key(score.z), order_key(score.w)),
      vec4<u32>(KEY_NAN + 1u),
    );
    let rank = select(select(old, key, old > vec4<u32>(KEY_NAN)), vec4<u32>(KEY_DEAD), tokens == vec4<u32>(chosen));
    memory[ranks_after + four] = rank;
    let counts_here = vec4<bool>(steers) & (before < vec4<f32>(UNCOUNTED));
    let after = select(before, max(before, gram[row_of_chosen + four]), counts_here);
    memory[states_after + four] = bitcast<vec4<u32>>(after);
  }
  if part == 0u && lane.index == 0u {
    if chosen != NONE {
      indices[params.indices_base + batch * params.k + selected] = chosen;
      selected++;
      kept[params.kept_base + batch] = selected;
    }
    memory[tallies + (step + 1u) % 2u] = vec4<u32>(selected, 0u, next_given, 0u);
  }
}
