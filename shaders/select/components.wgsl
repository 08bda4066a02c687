// Connected components of a graph of tokens: which tokens can be reached from which.
//
//   label[i] = the first token that reaches i; every token that no token before it reaches begins a component
//
// pairs:   [B, N, ceil(N / 32)] u32; bit j of row i: i is linked to j
// lengths: [B] u32; tokens from it on are dead, and linked to nothing
// label:   [B, N] u32; NONE for dead tokens
// memory:  [B, 1 + 2 ceil(N / 32)] u32, scratch: the component at the end of a dispatch; bits of the tokens not yet seen, and of those seen from
//          which others have not been looked for
//
// A step takes the lowest token of the second kind, or of the first where there is none, and looks for others in its row. Each invocation has
// every 128th word of the bits for itself. There are no ties, and the number of steps does not depend on the links.
//
// Cost: N steps of a workgroup for each batch row, some thousands to a dispatch; one read of the pairs.

const LANES = 128u;
const NONE = 0xffffffffu;
const NOT_SEEN = 0x80000000u; // such a token comes after all seen ones

var<workgroup> best: atomic<u32>;
var<workgroup> chosen: u32;
var<workgroup> alive: u32;
var<workgroup> component_before: u32;

@compute @workgroup_size(LANES)
fn main(grid: Grid, lane: Lane) {
  let batch = linear_group(grid);
  if batch >= params.batch { return; }
  let words = (params.tokens + 31u) / 32u;
  let state = params.memory_base + batch * (1u + 2u * words);
  let not_seen = state + 1u;
  let waiting = not_seen + words;
  let labels = params.label_base + batch * params.tokens;
  if lane.index == 0u {
    alive = min(lengths[params.lengths_base + batch], params.tokens);
    component_before = memory[state];
    atomicStore(&best, NONE);
  }
  let live = workgroupUniformLoad(&alive);
  var component = workgroupUniformLoad(&component_before);
  if params.first == 0u {
    for (var word = lane.index; word < words; word += LANES) {
      let before = min(32u * word, live);
      let count = min(live - before, 32u);
      memory[not_seen + word] = select((1u << (count % 32u)) - 1u, NONE, count == 32u);
      memory[waiting + word] = 0u;
    }
  }
  for (var step = params.first; step < min(params.last, live); step++) {
    var key = NONE;
    for (var word = lane.index; word < words; word += LANES) {
      let seen = memory[waiting + word];
      let other = memory[not_seen + word];
      if seen != 0u { key = min(key, 32u * word + countTrailingZeros(seen)); }
      if other != 0u { key = min(key, (32u * word + countTrailingZeros(other)) | NOT_SEEN); }
    }
    atomicMin(&best, key);
    workgroupBarrier();
    if lane.index == 0u {
      chosen = atomicLoad(&best);
      atomicStore(&best, NONE);
    }
    let found = workgroupUniformLoad(&chosen);
    let token = min(found & ~NOT_SEEN, params.tokens - 1u);
    component = select(component, token, found >= NOT_SEEN);
    let row = params.pairs_base + (batch * params.tokens + token) * words;
    for (var word = lane.index; word < words; word += LANES) {
      let own = select(0u, 1u << (token % 32u), token / 32u == word);
      let unseen = memory[not_seen + word] & ~own;
      let reached = pairs[row + word] & unseen;
      memory[not_seen + word] = unseen & ~reached;
      memory[waiting + word] = (memory[waiting + word] & ~own) | reached;
    }
    if lane.index == 0u {
      label[labels + token] = component;
    }
  }
  if lane.index == 0u {
    memory[state] = component;
  }
  for (var token = max(live, params.first) + lane.index; token < params.last; token += LANES) {
    label[labels + token] = NONE;
  }
}
