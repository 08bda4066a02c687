// The nearest earlier token of the same label.
//
//   previous[b,i] = the largest j < i with labels[b,j] = labels[b,i]; NONE where there is none
//
// labels:   [B, N] u32; tokens labelled NONE have no equals
// lengths:  [B] u32; live tokens
// previous: [B, N] u32; NONE for dead tokens
//
// Cost: one dispatch; each token looks back as far as its previous one is, in cached memory.
struct Params {
  labels_base: u32,
  lengths_base: u32,
  previous_base: u32,
  elements: u32,
  tokens: u32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> labels: array<u32>;
@group(0) @binding(2) var<storage, read> lengths: array<u32>;
@group(0) @binding(3) var<storage, read_write> previous: array<u32>;

const NONE = 0xffffffffu;

@compute @workgroup_size(128)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  lane: Lane,
) {
  let element = linear_group(group, groups) * 128u + lane.index;
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
