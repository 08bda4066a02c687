// The sort keys of neighbours. Included after order and distance. The including shader declares `params` and the bindings of the inputs.
const NONE = 0xffffffffu;
const NEAR = 0.984375; // 1 - 2^-6

fn query_at(batch: u32, q: u32) -> u32 {
  if q >= params.query_count { return NONE; }
  if params.queries_listed == 0u { return q; }
  return queries[params.queries_base + batch * params.query_stride + q];
}

fn candidate_at(batch: u32, c: u32) -> u32 {
  if c >= params.candidate_count { return NONE; }
  if params.candidates_listed == 0u { return c; }
  return candidates[params.candidates_base + batch * params.candidate_stride + c];
}

// A larger key is a nearer candidate.
fn key_of(batch: u32, query: u32, candidate: u32) -> u32 {
  let a = batch * params.tokens + query;
  let b = batch * params.tokens + candidate;
  let row_a = params.rows_base + a * params.channels;
  let row_b = params.rows_base + b * params.channels;
  if params.by_distance == 1u {
    let distance = squared_distance(row_a, row_b);
    return select(KEY_NAN, order_key_smallest(distance), is_finite(distance));
  }
  var similarity = 0.0;
  for (var c = 0u; c < params.channels; c++) {
    similarity += elem_dot(elem_f32(rows[row_a + c]), elem_f32(rows[row_b + c]));
  }
  if similarity >= NEAR {
    similarity = 1.0 - 0.5 * squared_distance(row_a, row_b);
  } else {
    similarity = max(similarity, -1.0);
  }
  let sound = is_finite(norm[params.norm_base + a]) && is_finite(norm[params.norm_base + b]);
  return select(KEY_NAN, order_key(similarity), sound);
}

// The similarity or distance with this key.
fn value_of(key: u32) -> f32 {
  if key == KEY_NAN { return make_nan(); }
  if key == KEY_DEAD { return 0.0; }
  if params.by_distance == 1u { return sqrt(order_value(~key)); }
  return order_value(key);
}
