// A depthwise convolution of a grid of tokens: each channel has a window of its own.
//
//   y[b, place, c] = sum_tap x[b, token under the tap, c] * weight[c, tap] + bias[c]
//
// x:      [B, h * w, C] elem
// weight: [C, taps] elem
// bias:   [C] elem; read if biased = 1
// y:      [B, places, C] elem
//
// Places and taps are counted row by row. Padding adds nothing. The sum is in f32, in the order of the taps, and the bias comes last.
// Cost, for each element of y: one write, `taps` reads through the caches, 2 taps operations.

@compute @workgroup_size(128)
fn main(grid: Grid, lane: Lane) {
  let element = linear_group(grid) * 128u + lane.index;
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
