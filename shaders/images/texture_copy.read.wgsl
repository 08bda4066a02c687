// Reads a texture into a tensor, row by row or in blocks.
//
// image:   texture of rows x columns texels, of which `channels` numbers count
// numbers: [..] elem, four channels per elem where they lie together and the alignment allows it
//
// Blocks that reach past the texture get zeros there.
//
// Cost: one read of each texel, one write of each number; neighbouring invocations write neighbouring numbers.

@compute @workgroup_size(128)
fn main(grid: Grid, lane: Lane) {
  let i = linear_group(grid) * 128u + lane.index;
  if i >= params.texels { return; }
  let place = texel_place(i);
  var texel = vec4<f32>();
  if is_inside(place) { texel = textureLoad(image, vec2(place.column, place.row), 0); }
  let at = params.numbers_base + place.number;
  if ELEM_WIDTH == 4u {
    numbers[at] = elem(elem_of(texel));
    return;
  }
  numbers[at] = elem(elem_of(texel));
  if params.channels > 1u { numbers[at + params.channel_step] = elem(elem_of(texel.yyyy)); }
  if params.channels > 2u { numbers[at + 2u * params.channel_step] = elem(elem_of(texel.zzzz)); }
  if params.channels > 3u { numbers[at + 3u * params.channel_step] = elem(elem_of(texel.wwww)); }
}
