// order_key (`common/order/order.wgsl`) of each channel of an elem_f32.
fn order_keys(value: elem_f32) -> elem_u32 {
  let bits = bitcast<elem_u32>(value);
  let sign = elem_u32(0x80000000u);
  let key = select(bits | sign, ~bits, bits > sign); // -0 equals +0
  return select(key, elem_u32(KEY_NAN), (bits & elem_u32(0x7fffffffu)) > elem_u32(0x7f800000u));
}
