// The sort keys of neighbours. Included after order, distance and the lists. The including shader declares `params` and the bindings of the
// inputs.
const NEAR = 0.984375; // 1 - 2^-6

// The key, made of the squared distance where the inner product is near 1.
fn exact_key(batch: u32, query: u32, candidate: u32, key: u32) -> u32 {
  if params.by_distance == 1u || key < order_key(NEAR) { return key; }
  return order_key(1.0 - 0.5 * squared_distance(row_at(batch, query), row_at(batch, candidate)));
}

// The similarity or distance with this key.
fn value_of(key: u32) -> f32 {
  if key == KEY_NAN { return make_nan(); }
  if key == KEY_DEAD { return 0.0; }
  if params.by_distance == 1u { return sqrt(order_value(~key)); }
  return order_value(key);
}
