// The lists of neighbours' queries and candidates. The including shader declares `params` and the bindings of the inputs. The functions have no
// branches and no `&&`, because some compilers take minutes over many inlined copies of them.
const NONE = 0xffffffffu;

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

// How many of the list's candidates there are to look at in a batch row with so many live tokens.
fn candidates_of(live: u32) -> u32 {
  return select(params.candidate_count, min(live, params.candidate_count), params.candidates_listed == 0u);
}

// Where a token's row begins. A token that is none reads the first one.
fn row_at(batch: u32, token: u32) -> u32 {
  return params.rows_base + (batch * params.tokens + select(0u, token, token < params.tokens)) * params.channels;
}

