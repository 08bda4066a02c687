// The tokens under a sliding window, as one token.
//
//   y[b, place, c * taps + tap] = x[b, token under the tap, c], 0 in the padding
//
// x: [B, h * w, C] elem
// y: [B, places, C * taps] elem
//
// Places and taps are counted row by row. Elements move bit for bit. Cost: one write of each element of y, one read of each that
// is not padding: taps / stride^2 times x, through the caches.
struct Params {
  x_base: u32,
  y_base: u32,
  elements: u32, // of y
  channels: u32,
  taps: u32,
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
@group(0) @binding(2) var<storage, read_write> y: array<elem>;

@compute @workgroup_size(128)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  lane: Lane,
) {
  let element = linear_group(group, groups) * 128u + lane.index;
  if element >= params.elements { return; }
  let place_channel = element / params.taps;
  let token = window_token(place_channel / params.channels, element % params.taps);
  var value = elem();
  if token != NO_TOKEN {
    value = x[params.x_base + token * params.channels + place_channel % params.channels];
  }
  y[params.y_base + element] = value;
}
