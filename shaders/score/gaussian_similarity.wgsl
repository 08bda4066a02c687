// How similar every token is to a centre: a sum of Gaussians of several widths.
//
//   similarity[b,i] = sum_k exp(-|x[b,i] - centers[b]|^2 / (2 2^k)),  k = -3, -2, -1, 0, 1
//
// x:          [B, N, C] f32, four channels per elem where C is a multiple of 4
// centers:    [B, C] f32
// lengths:    [B] u32; live tokens
// similarity: [B, N] f32; 0 for dead tokens and for infinite distances; NaN if the distance is NaN
//
// Sums are in f32. Each of 8 invocations takes every 8th elem, and their sums are added in their order.
//
// Cost: one dispatch; one read of x.

const LANES = 8u; // per row
const ROWS = 16u; // per workgroup
const FAR = 512.0; // here even the widest Gaussian is exp(-128), which counts as 0
var<workgroup> sums: array<f32, 128>;

@compute @workgroup_size(128)
fn main(grid: Grid, lane: Lane) {
  let first = linear_group(grid) * ROWS;
  if first >= params.rows { return; }
  let in_row = lane.index % LANES;
  let row = first + lane.index / LANES;
  let batch = row / params.tokens;
  var live = false;
  if row < params.rows {
    live = row % params.tokens < lengths[params.lengths_base + batch];
  }
  var sum = 0.0;
  for (var c = in_row; c < select(0u, params.channels, live); c += LANES) {
    let difference = x[params.x_base + row * params.channels + c] - centers[params.centers_base + batch * params.channels + c];
    sum += elem_dot(difference, difference);
  }
  sums[lane.index] = sum;
  workgroupBarrier();
  if in_row == 0u && row < params.rows {
    for (var i = 1u; i < LANES; i++) {
      sum += sums[lane.index + i];
    }
    var total = 0.0;
    var exponent = -4.0 * sum; // exponent of the narrowest Gaussian: 1 / (2 2^-3)
    for (var k = 0u; k < 5u; k++) {
      total += exp(exponent);
      exponent *= 0.5;
    }
    // Tests the bits, because a shader may assume that no float is a NaN or an infinity.
    let bits = bitcast<u32>(sum) & 0x7fffffffu;
    total = select(total, 0.0, bits >= bitcast<u32>(FAR));
    if bits > 0x7f800000u {
      total = make_nan();
    }
    similarity[params.similarity_base + row] = select(0.0, total, live);
  }
}
