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

// Channel by channel: `value` where `sum` is finite, `other` elsewhere.
fn where_finite(sum: elem_f32, value: elem_f32, other: elem_f32) -> elem_f32 {
  return select(other, value, (bitcast<elem_u32>(sum) & elem_u32(0x7fffffffu)) < elem_u32(0x7f800000u));
}

// A product that the compiler cannot rearrange. A compiler might otherwise combine its factors with others, or factor them out of a sum,
// and so make values that are no longer finite. `zero` is always 0, but the compiler cannot know this.
fn made_product(value: elem_f32, factor: elem_f32, zero: u32) -> elem_f32 {
  return bitcast<elem_f32>(bitcast<elem_u32>(value * factor) | elem_u32(zero));
}
