// Writes a tensor, row by row or in blocks, into a texture.
//
// numbers: [..] elem, four channels per elem where they lie together and the alignment allows it
// shown:   texture of rows x columns texels; channels that the tensor does not have are 0, and alpha is 1
//
// What blocks have past the texture is dropped. Numbers are rounded to the texture's format: the nearest, ties to even.
//
// Cost: one read of each number, one write of each texel; neighbouring invocations read neighbouring numbers.

fn number(at: u32) -> f32 {
  return elem_number(elem_f32(numbers[at]), 0u);
}

@compute @workgroup_size(128)
fn main(grid: Grid, lane: Lane) {
  let i = linear_group(grid) * 128u + lane.index;
  if i >= params.texels { return; }
  let place = texel_place(i);
  if !is_inside(place) { return; }
  let at = params.numbers_base + place.number;
  var texel = vec4(0.0, 0.0, 0.0, 1.0);
  if ELEM_WIDTH == 4u {
    let all = elem_f32(numbers[at]);
    texel = vec4(elem_number(all, 0u), elem_number(all, 1u), elem_number(all, 2u), elem_number(all, 3u));
  } else {
    texel.x = number(at);
    if params.channels > 1u { texel.y = number(at + params.channel_step); }
    if params.channels > 2u { texel.z = number(at + 2u * params.channel_step); }
    if params.channels > 3u { texel.w = number(at + 3u * params.channel_step); }
  }
  textureStore(shown, vec2(place.column, place.row), stored(texel));
}
