
// A texel of which a texture of 8 bits a number stores the nearest, ties to even, and 0 of NaN, however the device rounds.
fn stored(texel: vec4<f32>) -> vec4<f32> {
  let number = select(texel, vec4(0.0), (bitcast<vec4<u32>>(texel) & vec4(0x7fffffffu)) > vec4(0x7f800000u));
  return round(clamp(number, vec4(0.0), vec4(1.0)) * 255.0) / 255.0;
}
