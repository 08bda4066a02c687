// Joins the tokens under each place of a sliding window into one token.
//
//   y[b, place, c * taps + tap] = x[b, token under the tap, c], 0 in the padding
//
// x: [B, h * w, C] elem
// y: [B, places, C * taps] elem
//
// Places and taps are counted row by row. Elements move bit for bit.
// Cost: one write of each element of y. Each element of y that is not padding needs one read: taps / stride^2 times the size of x, through
// the caches.

@compute @workgroup_size(128)
fn main(grid: Grid, lane: Lane) {
  let element = linear_group(grid) * 128u + lane.index;
  if element >= params.elements { return; }
  let place_channel = element / params.taps;
  let token = window_token(place_channel / params.channels, element % params.taps);
  var value = elem();
  if token != NO_TOKEN {
    value = x[params.x_base + token * params.channels + place_channel % params.channels];
  }
  y[params.y_base + element] = value;
}
