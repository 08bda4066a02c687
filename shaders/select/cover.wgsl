// Chooses tokens of which none is linked to an earlier one, in a given order, so that every token of the order is chosen or linked to a chosen one.
//
//   in the order: a token is chosen if no token chosen before it is linked to it
//
// pairs:   [B, N, ceil(N / 32)] u32; bit j of row i: i is linked to j
// order:   [B, M] u32; what is no live token, or comes again, is skipped
// lengths: [B] u32; tokens from it on are dead
// chosen:  [B, N] u32; 1 for the chosen tokens, 0 for all others
// covered: [B, ceil(N / 32)] u32, scratch: bits of the tokens that are chosen, linked to a chosen one, or dead
//
// Each invocation has every 128th word of the bits for itself. There are no ties.
//
// Cost: M steps of a workgroup for each batch row, some thousands to a dispatch; one read of the pairs of the chosen tokens.

const LANES = 128u;
const NONE = 0xffffffffu;

var<workgroup> is_open: u32;
var<workgroup> alive: u32;

@compute @workgroup_size(LANES)
fn main(grid: Grid, lane: Lane) {
  let batch = linear_group(grid);
  if batch >= params.batch { return; }
  let words = (params.tokens + 31u) / 32u;
  let state = params.covered_base + batch * words;
  let marks = params.chosen_base + batch * params.tokens;
  if lane.index == 0u {
    alive = min(lengths[params.lengths_base + batch], params.tokens);
  }
  let live = workgroupUniformLoad(&alive);
  if params.first == 0u {
    for (var word = lane.index; word < words; word += LANES) {
      let before = min(32u * word, live);
      let count = min(live - before, 32u);
      covered[state + word] = ~select((1u << (count % 32u)) - 1u, NONE, count == 32u);
    }
    for (var token = lane.index; token < params.tokens; token += LANES) {
      chosen[marks + token] = 0u;
    }
    storageBarrier(); // before a chosen token is marked by another invocation
  }
  for (var step = params.first; step < params.last; step++) {
    let token = order[params.order_base + batch * params.entries + step];
    let word_of_token = min(token, params.tokens - 1u) / 32u;
    if lane.index == word_of_token % LANES {
      let bit = (covered[state + word_of_token] >> (token % 32u)) & 1u;
      is_open = select(0u, 1u - bit, token < live);
    }
    if workgroupUniformLoad(&is_open) == 1u {
      let row = params.pairs_base + (batch * params.tokens + token) * words;
      for (var word = lane.index; word < words; word += LANES) {
        let own = select(0u, 1u << (token % 32u), word == word_of_token);
        covered[state + word] |= pairs[row + word] | own;
      }
      if lane.index == word_of_token % LANES {
        chosen[marks + token] = 1u;
      }
    }
  }
}
