// How many tokens each frame may keep: more for those that stand out.
//
//   p[b,f]      = softmax_f(-(scores[b,f] - min scores) / temperature)       over the frames that have tokens
//   budget[b,f] = round(sizes[b,f] min(1, base (1 + p[b,f] - mean p))), halves to even, at least 1
//
// scores:  [B, F] f32; the lower, the more a frame stands out
// sizes:   [B, F] u32; tokens of each frame; frames without any get 0
// budgets: [B, F] u32
//
// One workgroup a batch row. The mean of p is 1 over the number of frames.
struct Params {
  scores_base: u32,
  sizes_base: u32,
  budgets_base: u32,
  batch: u32,
  frames: u32,
  share: f32,
  sharpness: f32, // 1 / temperature
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> scores: array<f32>;
@group(0) @binding(2) var<storage, read> sizes: array<u32>;
@group(0) @binding(3) var<storage, read_write> budgets: array<u32>;

const LOWEST = -3.4028234e38;

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  lane: Lane,
) {
  let batch = linear_group(group, groups);
  if batch >= params.batch { return; }
  let row = batch * params.frames;
  var largest = LOWEST;
  var number = 0u;
  for (var f = lane.index; f < params.frames; f += WG) {
    if sizes[params.sizes_base + row + f] > 0u {
      largest = max(largest, -scores[params.scores_base + row + f]);
      number++;
    }
  }
  largest = reduce_max(lane, largest);
  number = reduce_add_u32(lane, number);
  var sum = 0.0;
  for (var f = lane.index; f < params.frames; f += WG) {
    if sizes[params.sizes_base + row + f] > 0u {
      sum += exp((-scores[params.scores_base + row + f] - largest) * params.sharpness);
    }
  }
  sum = reduce_add(lane, sum);
  for (var f = lane.index; f < params.frames; f += WG) {
    let size = sizes[params.sizes_base + row + f];
    var budget = 0u;
    if size > 0u {
      let p = exp((-scores[params.scores_base + row + f] - largest) * params.sharpness) / sum;
      let scale = clamp(params.share * (1.0 + p - 1.0 / f32(number)), 0.0, 1.0);
      budget = clamp(u32(round(f32(size) * scale)), 1u, size);
    }
    budgets[params.budgets_base + row + f] = budget;
  }
}
