// Which query rows attention_score reads, and which keys they see. The including shader declares `params` and `list`.
const LAST = 0xffffffffu; // in `list`: the last live row

// Query row of the r-th row asked for; at least `live` where there is none.
fn query_row(r: u32, live: u32) -> u32 {
  if params.every_row == 1u { return r; }
  let row = list[params.list_base + r];
  return select(row, live - 1u, row == LAST); // live 0 gives LAST again, which is at least live
}

// How many keys this query row sees, from the first on: none if it is dead.
fn visible_keys(row: u32, live_queries: u32, live_keys: u32) -> u32 {
  // Where it is causal, key j is visible iff j <= row + live_keys - live_queries.
  let reach = row + 1u + live_keys;
  let seen = select(live_keys, reach - min(reach, live_queries), params.causal == 1u);
  return select(0u, seen, row < live_queries);
}

// The first query row of a head.
fn first_query(batch: u32, head: u32) -> u32 {
  return (batch * params.all_heads + params.head_first + head) * params.query_count;
}

// Its first key.
fn first_key(batch: u32, head: u32) -> u32 {
  return (batch * params.key_heads + (params.head_first + head) / (params.all_heads / params.key_heads)) * params.key_count;
}

