// Scores brought between 0 and 1.
//
//   y = (x - lowest + offset) / (highest - lowest + epsilon)        descending: (highest - x + offset) / ...
//
// x:       [B, N] f32
// lowest:  [B] or [1] f32
// highest: [B] or [1] f32
// lengths: [B] u32; 0 for tokens that are not alive
// y:       [B, N] f32; 1 where the divisor is 0
//
// Cost: one read and one write of each element.
struct Params {
  x_base: u32,
  lowest_base: u32,
  highest_base: u32,
  lengths_base: u32,
  y_base: u32,
  elements: u32,
  tokens: u32,
  range_stride: u32, // from one batch row's lowest to the next: 0 or 1
  descending: u32,
  offset: f32,
  epsilon: f32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> lowest: array<f32>;
@group(0) @binding(3) var<storage, read> highest: array<f32>;
@group(0) @binding(4) var<storage, read> lengths: array<u32>;
@group(0) @binding(5) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(128)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  lane: Lane,
) {
  let i = linear_group(group, groups) * 128u + lane.index;
  if i < params.elements {
    let batch = i / params.tokens;
    var value = 0.0;
    if i % params.tokens < lengths[params.lengths_base + batch] {
      let low = lowest[params.lowest_base + batch * params.range_stride];
      let high = highest[params.highest_base + batch * params.range_stride];
      let score = x[params.x_base + i];
      let divisor = high - low + params.epsilon;
      value = 1.0;
      // A NaN on the bits: a device may take it for 0.
      if divisor != 0.0 || (bitcast<u32>(divisor) & 0x7fffffffu) > 0x7f800000u {
        value = (select(score - low, high - score, params.descending != 0u) + params.offset) / divisor;
      }
    }
    y[params.y_base + i] = value;
  }
}
