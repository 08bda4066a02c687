
// A texel rounded to f16, ties to even, however the device rounds.
fn stored_number(number: f32) -> f32 {
  return bitcast<f32>(of_f16(f16_bits(bitcast<u32>(number))));
}

fn stored(texel: vec4<f32>) -> vec4<f32> {
  return vec4(stored_number(texel.x), stored_number(texel.y), stored_number(texel.z), stored_number(texel.w));
}
