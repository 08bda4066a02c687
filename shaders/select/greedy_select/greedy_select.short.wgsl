// Greedy selection from short rows. This is greedy_select with one invocation per batch row.
//
// unit:    [B, N, C] f32, C / 4 elems of four numbers where C is a multiple of 4
// weights: [B, N] f32
// counts:  [B] u32, tokens to select
// given:   [G] or [B, G] u32, tokens selected before all others; NONE, repeated and dead ones are skipped
// indices: [B, K] u32, in order of selection
// kept:    [B] u32
// memory:  [B, stride] u32: the tokens' ranks, their states, and the columns e, [rank, N]
//
// Sums have the order and the operations of greedy_select. So a row's capacity does not change what is selected.
//
// Cost: that of greedy_select, without barriers and without a workgroup per row.

override FUSED: u32 = 0u; // whether products are added as on a GPU

const NONE = 0xffffffffu;
const MARGINAL = 1u;
const DETERMINANT = 2u;
const ROUNDING = 1.52587890625e-5; // 2^-16

// The best token, or NONE.
fn find(ranks: u32) -> u32 {
  var key = KEY_DEAD;
  var owner = NONE;
  for (var token = 0u; token < params.tokens; token++) {
    let other = memory[ranks + token];
    owner = select(owner, token, other > key);
    key = max(key, other);
  }
  return owner;
}

@compute @workgroup_size(64)
fn main(grid: Grid, lane: Lane) {
  let batch = linear_group(grid) * 64u + lane.index;
  if batch >= params.groups { return; }
  let ranks = params.memory_base + batch * params.stride;
  let states = ranks + params.tokens;
  let columns = states + params.tokens;
  let first_row = batch * params.tokens;
  let weights_at = params.weights_base + first_row;
  let count = min(counts[params.counts_base + batch], params.k);

  var selected = 0u;
  var depth = 0u;
  for (var step = 0u; step < params.last && selected < count; step++) {
    var chosen = NONE;
    if step < params.given_count {
      let token = given[params.given_base + batch * params.given_stride + step];
      if token < params.tokens && memory[ranks + min(token, params.tokens - 1u)] != KEY_DEAD {
        chosen = token;
      }
    } else {
      chosen = find(ranks);
    }
    if chosen == NONE { continue; }

    let sound = memory[ranks + chosen] != KEY_NAN;
    let pivot = bitcast<f32>(memory[states + chosen]);
    let chosen_weight = weights[weights_at + chosen];
    let chosen_unit = params.unit_base + (first_row + chosen) * params.channels;
    let spans = sound && pivot > 0.0 && depth < params.rank;
    memory[ranks + chosen] = KEY_DEAD;
    for (var token = 0u; token < params.tokens; token++) {
      if memory[ranks + token] <= KEY_NAN { continue; } // dead, selected, or with a NaN or an infinity
      if !sound { continue; }
      let weight = weights[weights_at + token];
      let token_unit = params.unit_base + (first_row + token) * params.channels;
      var total = 0.0;
      for (var c = 0u; c < params.channels; c++) {
        let a = unit[chosen_unit + c];
        let b = unit[token_unit + c];
        if FUSED == 1u { total = plus_elem(a, b, total); } else { total += elem_dot(a, b); }
      }
      if params.objective == DETERMINANT {
        total *= chosen_weight * weight;
        for (var s = 0u; s < depth; s++) {
          total -= bitcast<f32>(memory[columns + s * params.tokens + chosen]) * bitcast<f32>(memory[columns + s * params.tokens + token]);
        }
      }
      var state = bitcast<f32>(memory[states + token]);
      var score = 0.0;
      if params.objective == DETERMINANT {
        if spans {
          let e = total / sqrt(pivot);
          memory[columns + depth * params.tokens + token] = bitcast<u32>(e);
          state -= e * e;
        }
        let nothing = state <= weight * weight * ROUNDING || (spans && depth + 1u == params.rank);
        state = select(state, 0.0, nothing);
        score = state;
      } else {
        state = max(state, total);
        score = select(0.0, params.relevance * weight, params.objective == MARGINAL) - params.similarity * state;
      }
      memory[ranks + token] = max(order_key(score), KEY_NAN + 1u);
      memory[states + token] = bitcast<u32>(state);
    }
    indices[params.indices_base + batch * params.k + selected] = chosen;
    selected++;
    depth += select(0u, 1u, spans);
  }
  kept[params.kept_base + batch] = selected;
}
