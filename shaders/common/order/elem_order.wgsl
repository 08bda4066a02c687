// order_key (`common/order/order.wgsl`) of each channel of an elem_f32.
fn order_keys(value: elem_f32) -> elem_u32 {
  let bits = bitcast<elem_u32>(value);
  let sign = elem_u32(0x80000000u);
  let key = select(bits | sign, ~bits, bits > sign); // -0 equals +0
  return select(key, elem_u32(KEY_NAN), (bits & elem_u32(0x7fffffffu)) > elem_u32(0x7f800000u));
}

// Whether every channel is finite.
fn all_finite(value: elem_f32) -> bool {
  return all(vec4<u32>(bitcast<elem_u32>(value) & elem_u32(0x7fffffffu)) < vec4<u32>(0x7f800000u));
}

// A value's channels where those of a sum are finite, and the other's elsewhere.
fn where_finite(sum: elem_f32, value: elem_f32, other: elem_f32) -> elem_f32 {
  return select(other, value, (bitcast<elem_u32>(sum) & elem_u32(0x7fffffffu)) < elem_u32(0x7f800000u));
}

// A product that is made as it stands: a compiler may take others' factors together, or out of a sum, of which some are no
// floats. `zero` is 0, which no compiler knows.
fn made_product(value: elem_f32, factor: elem_f32, zero: u32) -> elem_f32 {
  return bitcast<elem_f32>(bitcast<elem_u32>(value * factor) | elem_u32(zero));
}
