// The nearest earlier token with the same label.
//
//   previous[b,i] = the largest j < i with labels[b,j] = labels[b,i]; NONE if there is none
//
// labels:   [B, N] u32; a token labelled NONE has no equals
// lengths:  [B] u32; live tokens
// previous: [B, N] u32; NONE for dead tokens
//
// Cost: one dispatch; each token looks back to its previous one, in cached memory.

const NONE = 0xffffffffu;

@compute @workgroup_size(128)
fn main(grid: Grid, lane: Lane) {
  let element = linear_group(grid) * 128u + lane.index;
  if element >= params.elements { return; }
  let batch = element / params.tokens;
  let token = element % params.tokens;
  let row = params.labels_base + batch * params.tokens;
  let label = labels[row + token];
  var found = NONE;
  if label != NONE && token < lengths[params.lengths_base + batch] {
    for (var back = token; back > 0u; back--) {
      if labels[row + back - 1u] == label {
        found = back - 1u;
        break;
      }
    }
  }
  previous[params.previous_base + element] = found;
}
