// Greedy selection of k tokens: first the given ones, then in each step the one that scores best, given those already selected.
//
//   max-min       -max_s cos(i, s)                                    while nothing is selected, the lowest weight goes first
//   marginal      relevance weight_i - (1 - relevance) max_s cos(i, s)       while nothing is selected, the highest weight goes first
//   determinant   d_i: the factor by which det(weight_i weight_j cos(i, j)) over the selected tokens grows with i,
//                 from the columns e of its Cholesky decomposition:
//                 e_i = (weight_i weight_p cos(i, p) - sum_s e_s[i] e_s[p]) / sqrt(d_p)      d_i -= e_i^2
//
// unit:    [B, N, C] f32, C / 4 elems of four numbers where C is a multiple of 4
// weights: [B, N] f32
// counts:  [B] u32, tokens to select
// given:   [G] or [B, G] u32, tokens selected before all others; NONE, repeated and dead ones are skipped
// indices: [B, K] u32, in order of selection
// kept:    [B] u32
// memory:  [B, stride] u32: two arrays of the tokens' ranks, used in turn; the tokens' states; two numbers of selected tokens and two of
//          columns, and two of given entries that are done with, used in turn; the columns e, [N, rank]
//
// Ranks are order keys of the scores, and ties go to the lowest token. Key KEY_DEAD is no candidate. Key KEY_NAN marks a token with a NaN
// or an infinity: it is selected last, and does not affect the others.
// A d_i of at most 2^-16 weight_i^2 is rounding, and counts as 0. A token whose d_p is 0 makes no column. Once there are as many columns as
// channels, they span every token, and all d_i are 0.
//
// A workgroup takes 64 tokens at a time; 16 lanes share 4 tokens. If `parts` is 1, a workgroup takes whole batch rows, and all steps are
// one dispatch. Larger rows are split into parts of 64 tokens, and each step is a dispatch in which every part finds the winner by itself.
// Sums have the same order in both.
//
// Cost, for each selected token: 2 N C operations. The determinant needs 2 N more for each earlier column.

const NONE = 0xffffffffu;
const MARGINAL = 1u;
const DETERMINANT = 2u;
const ROUNDING = 1.52587890625e-5; // 2^-16
const LANES = 16u; // lanes that share four tokens
const TILE = 64u; // tokens

var<workgroup> keys: array<u32, 256>;
var<workgroup> owners: array<u32, 256>;
var<workgroup> sums: array<f32, 1024>; // [lane, one of four tokens]
var<workgroup> winner: u32;
var<workgroup> wanted: u32;
var<workgroup> selected_before: u32;
var<workgroup> given_before: u32;
var<workgroup> first_given: atomic<u32>;

// The best of this invocation's tokens, then of 16 invocations, then of all.
fn find(lane: Lane, ranks: u32) {
  var key = KEY_DEAD;
  var owner = NONE;
  for (var token = lane.index; token < params.tokens; token += 256u) {
    let other = memory[ranks + token];
    owner = select(owner, token, other > key);
    key = max(key, other);
  }
  keys[lane.index] = key;
  owners[lane.index] = owner;
  workgroupBarrier();
  if lane.index < 16u {
    best_of(lane.index * 16u, 1u);
  }
  workgroupBarrier();
  if lane.index == 0u {
    best_of(0u, 16u);
    winner = owners[0];
  }
}

// Entry `first` becomes the best of its 16.
fn best_of(first: u32, step: u32) {
  var key = keys[first];
  var owner = owners[first];
  for (var i = 1u; i < 16u; i++) {
    let other = keys[first + i * step];
    let other_owner = owners[first + i * step];
    let better = other > key || (other == key && other_owner < owner);
    key = select(key, other, better);
    owner = select(owner, other_owner, better);
  }
  keys[first] = key;
  owners[first] = owner;
}

@compute @workgroup_size(256)
fn main(grid: Grid, lane: Lane) {
  let id = linear_group(grid);
  if id >= params.groups { return; }
  let batch = id / params.parts;
  let part = id % params.parts;
  let ranks = params.memory_base + batch * params.stride;
  let states = ranks + 2u * params.tokens;
  let tallies = states + params.tokens;
  let columns = tallies + 6u;
  let first_row = batch * params.tokens;
  let in_row = lane.index % LANES;
  let of_four = lane.index / LANES * 4u;

  if lane.index == 0u {
    wanted = min(counts[params.counts_base + batch], params.k);
    selected_before = memory[tallies + params.first % 2u];
    given_before = memory[tallies + 4u + params.first % 2u];
  }
  let count = workgroupUniformLoad(&wanted);
  var selected = workgroupUniformLoad(&selected_before);
  var next_given = workgroupUniformLoad(&given_before);
  var depth = memory[tallies + 2u + params.first % 2u];
  for (var step = params.first; step < params.last; step++) {
    if selected >= count { break; }
    let ranks_before = ranks + selected % 2u * params.tokens;
    let ranks_after = ranks + (selected + 1u) % 2u * params.tokens;
    // The next given token that can be selected, of 256 entries at a time.
    var found = NONE;
    while found == NONE && next_given < params.given_count {
      if lane.index == 0u {
        atomicStore(&first_given, NONE);
      }
      workgroupBarrier();
      let entry = next_given + lane.index;
      if entry < params.given_count {
        let token = given[params.given_base + batch * params.given_stride + entry];
        if token < params.tokens && memory[ranks_before + min(token, params.tokens - 1u)] != KEY_DEAD {
          atomicMin(&first_given, entry);
        }
      }
      found = workgroupUniformLoad(&first_given);
      next_given = select(found + 1u, next_given + 256u, found == NONE);
    }
    if found == NONE {
      find(lane, ranks_before);
    } else if lane.index == 0u {
      winner = given[params.given_base + batch * params.given_stride + found];
    }
    let chosen = workgroupUniformLoad(&winner);
    if chosen == NONE { break; }

    let sound = memory[ranks_before + chosen] != KEY_NAN;
    let pivot = bitcast<f32>(memory[states + chosen]);
    let chosen_weight = weights[params.weights_base + first_row + chosen];
    let chosen_unit = params.unit_base + (first_row + chosen) * params.channels;
    let chosen_column = columns + chosen * params.rank;
    let spans = sound && pivot > 0.0 && depth < params.rank;
    for (var tile = part * TILE; tile < params.tokens; tile += params.parts * TILE) {
      let token0 = min(tile + of_four, params.tokens - 1u);
      let token1 = min(tile + of_four + 1u, params.tokens - 1u);
      let token2 = min(tile + of_four + 2u, params.tokens - 1u);
      let token3 = min(tile + of_four + 3u, params.tokens - 1u);
      let unit0 = params.unit_base + (first_row + token0) * params.channels;
      let unit1 = params.unit_base + (first_row + token1) * params.channels;
      let unit2 = params.unit_base + (first_row + token2) * params.channels;
      let unit3 = params.unit_base + (first_row + token3) * params.channels;
      var sum = vec4<f32>();
      for (var c = in_row; c < params.channels; c += LANES) {
        let u = unit[chosen_unit + c];
        sum += vec4<f32>(elem_dot(u, unit[unit0 + c]), elem_dot(u, unit[unit1 + c]), elem_dot(u, unit[unit2 + c]), elem_dot(u, unit[unit3 + c]));
      }
      if params.objective == DETERMINANT {
        let row = params.weights_base + first_row;
        sum *= chosen_weight * vec4<f32>(weights[row + token0], weights[row + token1], weights[row + token2], weights[row + token3]);
        for (var s = in_row; s < depth; s += LANES) {
          let e = bitcast<f32>(memory[chosen_column + s]);
          let others = vec4<u32>(
            memory[columns + token0 * params.rank + s],
            memory[columns + token1 * params.rank + s],
            memory[columns + token2 * params.rank + s],
            memory[columns + token3 * params.rank + s],
          );
          sum -= e * bitcast<vec4<f32>>(others);
        }
      }
      sums[lane.index * 4u] = sum.x;
      sums[lane.index * 4u + 1u] = sum.y;
      sums[lane.index * 4u + 2u] = sum.z;
      sums[lane.index * 4u + 3u] = sum.w;
      workgroupBarrier();

      let token = tile + lane.index;
      if lane.index < TILE && token < params.tokens {
        var total = 0.0;
        for (var i = 0u; i < LANES; i++) {
          total += sums[(lane.index / 4u * LANES + i) * 4u + lane.index % 4u];
        }
        let weight = weights[params.weights_base + first_row + token];
        let old = memory[ranks_before + token];
        var state = bitcast<f32>(memory[states + token]);
        var score = 0.0;
        if params.objective == DETERMINANT {
          if spans {
            let e = total / sqrt(pivot);
            memory[columns + token * params.rank + depth] = bitcast<u32>(e);
            state -= e * e;
          }
          let nothing = state <= weight * weight * ROUNDING || (spans && depth + 1u == params.rank);
          state = select(state, 0.0, nothing);
          score = state;
        } else {
          state = max(state, total);
          score = select(0.0, params.relevance * weight, params.objective == MARGINAL) - params.similarity * state;
        }
        var key = max(order_key(score), KEY_NAN + 1u);
        key = select(old, key, sound && old > KEY_NAN);
        key = select(key, KEY_DEAD, token == chosen);
        memory[ranks_after + token] = key;
        // Other parts read the winner's own state in this step.
        if sound && token != chosen {
          memory[states + token] = bitcast<u32>(state);
        }
      }
      workgroupBarrier(); // before the sums are written again, and after the winner's state has been read
    }
    if part == 0u && lane.index == 0u {
      indices[params.indices_base + batch * params.k + selected] = chosen;
    }
    selected++;
    depth += select(0u, 1u, spans);
    storageBarrier(); // other lanes read ranks, states and columns in the next step
    workgroupBarrier();
  }
  if part == 0u && lane.index == 0u {
    memory[tallies + params.last % 2u] = selected;
    memory[tallies + 2u + params.last % 2u] = depth;
    memory[tallies + 4u + params.last % 2u] = next_given;
    kept[params.kept_base + batch] = selected;
  }
}
