// The sort keys of neighbours. Included after order and distance. The including shader declares `params` and the bindings of the inputs. The
// functions that tiles inline have no branches and no `&&`, because some compilers take minutes over many copies of them.
const NONE = 0xffffffffu;
const NEAR = 0.984375; // 1 - 2^-6

// The token of an entry of the lists, or NONE after the last entry.
fn query_at(batch: u32, q: u32) -> u32 {
  let entry = min(q, params.query_count - 1u);
  let listed = queries[params.queries_base + select(0u, batch * params.query_stride + entry, params.queries_listed == 1u)];
  return select(select(q, listed, params.queries_listed == 1u), NONE, q >= params.query_count);
}

fn candidate_at(batch: u32, c: u32) -> u32 {
  let entry = min(c, params.candidate_count - 1u);
  let listed = candidates[params.candidates_base + select(0u, batch * params.candidate_stride + entry, params.candidates_listed == 1u)];
  return select(select(c, listed, params.candidates_listed == 1u), NONE, c >= params.candidate_count);
}

// Where a token's row begins. A token that is none reads the first one.
fn row_at(batch: u32, token: u32) -> u32 {
  return params.rows_base + (batch * params.tokens + select(0u, token, token < params.tokens)) * params.channels;
}

// A larger key is a nearer candidate. `sum` is the inner product or the squared distance of two live rows.
fn key_of(batch: u32, query: u32, candidate: u32, sum: f32) -> u32 {
  if params.by_distance == 1u {
    return select(KEY_NAN, order_key_smallest(sum), is_finite(sum));
  }
  let a = params.norm_base + batch * params.tokens;
  if !(is_finite(norm[a + query]) && is_finite(norm[a + candidate])) { return KEY_NAN; }
  if sum >= NEAR { return order_key(1.0 - 0.5 * squared_distance(row_at(batch, query), row_at(batch, candidate))); }
  return order_key(max(sum, -1.0));
}

// The similarity or distance with this key.
fn value_of(key: u32) -> f32 {
  if key == KEY_NAN { return make_nan(); }
  if key == KEY_DEAD { return 0.0; }
  if params.by_distance == 1u { return sqrt(order_value(~key)); }
  return order_value(key);
}
