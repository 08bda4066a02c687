// A depthwise convolution of a grid of tokens: each channel by its own window.
//
//   y[b, place, c] = sum_tap x[b, token under the tap, c] * weight[c, tap] + bias[c]
//
// x:      [B, h * w, C] elem
// weight: [C, taps] elem
// bias:   [C] elem; read if biased = 1
// y:      [B, places, C] elem
//
// Places and taps are counted row by row; padding adds nothing. The sum is in f32, in the order of the taps, the bias last.
// Cost: one write of each element of y, taps reads through the caches, 2 taps operations.
struct Params {
  x_base: u32,
  weight_base: u32,
  bias_base: u32,
  y_base: u32,
  elements: u32, // of y
  channels: u32,
  taps: u32,
  biased: u32,
  height: u32,
  width: u32,
  out_height: u32,
  out_width: u32,
  kernel_width: u32,
  stride_y: u32,
  stride_x: u32,
  padding_y: u32,
  padding_x: u32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<elem>;
@group(0) @binding(2) var<storage, read> weight: array<elem>;
@group(0) @binding(3) var<storage, read> bias: array<elem>;
@group(0) @binding(4) var<storage, read_write> y: array<elem>;

@compute @workgroup_size(128)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  lane: Lane,
) {
  let element = linear_group(group, groups) * 128u + lane.index;
  if element >= params.elements { return; }
  let channel = element % params.channels;
  var sum = 0.0;
  for (var tap = 0u; tap < params.taps; tap++) {
    let token = window_token(element / params.channels, tap);
    if token != NO_TOKEN {
      sum += f32(x[params.x_base + token * params.channels + channel]) * f32(weight[params.weight_base + channel * params.taps + tap]);
    }
  }
  if params.biased == 1u {
    sum += f32(bias[params.bias_base + channel]);
  }
  y[params.y_base + element] = elem(sum);
}
