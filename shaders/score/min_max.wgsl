// Min-max normalisation of scores: moves them into [0, 1].
//
//   y = (x - lowest + offset) / (highest - lowest + epsilon)        descending: (highest - x + offset) / ...
//
// x:       [B, N] f32
// lowest:  [B] or [1] f32
// highest: [B] or [1] f32
// lengths: [B] u32; dead tokens give 0
// y:       [B, N] f32; 1 if the divisor is 0
//
// Cost: one read and one write of each element.

@compute @workgroup_size(128)
fn main(grid: Grid, lane: Lane) {
  let i = linear_group(grid) * 128u + lane.index;
  if i < params.elements {
    let batch = i / params.tokens;
    var value = 0.0;
    if i % params.tokens < lengths[params.lengths_base + batch] {
      let low = lowest[params.lowest_base + batch * params.range_stride];
      let high = highest[params.highest_base + batch * params.range_stride];
      let score = x[params.x_base + i];
      let divisor = high - low + params.epsilon;
      value = 1.0;
      // Tests for NaN on the bits, because a device may treat a NaN as 0.
      if divisor != 0.0 || (bitcast<u32>(divisor) & 0x7fffffffu) > 0x7f800000u {
        value = (select(score - low, high - score, params.descending != 0u) + params.offset) / divisor;
      }
    }
    y[params.y_base + i] = value;
  }
}
