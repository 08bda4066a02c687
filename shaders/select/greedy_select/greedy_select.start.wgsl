// The initial state of greedy_select: each token's state and rank before anything is selected, and an empty selection.
//
// norm:    [B, N] f32, NaN for rows with a NaN or an infinity
// weights: [B, N] f32
// lengths: [B] u32; tokens at or behind it are no candidates
// indices: [B, K] u32, NONE everywhere
// kept:    [B] u32, 0
// memory:  [B, stride] u32; see greedy_select, and greedy_select.short for rows that one invocation has

const NONE = 0xffffffffu;
const MAX_MIN = 0u;
const DETERMINANT = 2u;
const FACILITY = 3u;
const UNCOUNTED = 3.4028234e38;

@compute @workgroup_size(256)
fn main(grid: Grid, lane: Lane) {
  let id = linear_group(grid) * 256u + lane.index;
  if id >= params.total { return; }
  let width = max(params.pitch, 1u);
  let batch = id / width;
  let token = id % width;
  let memory_at = params.memory_base + batch * params.stride;
  if token == 0u {
    kept[params.kept_base + batch] = 0u;
    if params.short == 0u {
      let tallies = memory_at + 5u * params.pitch;
      memory[tallies] = 0u;
      memory[tallies + 1u] = 0u;
      memory[tallies + 2u] = 0u;
    }
  }
  if params.pitch == 0u { return; }

  // The state: the similarity to the selected tokens, of which there are none yet; or the squared length of the part of the token that the
  // selected ones do not span.
  var state = -3.4028234e38;
  var key = KEY_DEAD;
  var weight = 0.0;
  if token < params.tokens {
    let row = batch * params.tokens + token;
    weight = weights[params.weights_base + row];
    // Tests the bits, because devices may compare a denormal as 0.
    let size = bitcast<u32>(norm[params.norm_base + row]) & 0x7fffffffu;
    key = order_key(weight);
    if params.objective == MAX_MIN {
      key = order_key_smallest(weight);
    }
    if params.objective == DETERMINANT {
      state = select(0.0, weight * weight, size != 0u);
      key = order_key(state);
    }
    key = max(key, KEY_NAN + 1u); // a finite token comes before one with a NaN or an infinity, whatever its weight
    if size > 0x7f800000u || (params.objective != MAX_MIN && !is_finite(weight)) {
      key = KEY_NAN;
    }
    if token >= lengths[params.lengths_base + batch] {
      key = KEY_DEAD;
    }
  }
  if params.objective == FACILITY {
    // The similarity to the selected tokens starts at 0, and only tokens that may steer are served.
    state = select(0.0, UNCOUNTED, key <= KEY_NAN);
  }
  let at = memory_at + token;
  memory[at] = key;
  if params.short == 0u {
    memory[at + 2u * params.pitch] = bitcast<u32>(state);
    memory[at + 4u * params.pitch] = bitcast<u32>(weight);
  } else {
    memory[at + params.pitch] = bitcast<u32>(state);
  }
  if token < params.k {
    indices[params.indices_base + batch * params.k + token] = NONE;
  }
}
