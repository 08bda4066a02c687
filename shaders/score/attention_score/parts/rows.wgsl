// Which query rows attention_score reads, and which keys they see. The including shader declares `params` and `list`.
const LAST = 0xffffffffu; // in `list`: the last live row

// The query row of the r-th of the rows asked for; `live` or more if there is none.
fn query_row(r: u32, live: u32) -> u32 {
  if params.every_row == 1u { return r; }
  let row = list[params.list_base + r];
  return select(row, live - 1u, row == LAST); // if live is 0 this gives LAST, which is `live` or more
}

// How many keys this query row sees, from the first on. A dead row sees none.
fn visible_keys(row: u32, live_queries: u32, live_keys: u32) -> u32 {
  // With a causal mask, key j is visible iff j <= row + live_keys - live_queries.
  let reach = row + 1u + live_keys;
  let seen = select(live_keys, reach - min(reach, live_queries), params.causal == 1u);
  return select(0u, seen, row < live_queries);
}

// The first query row of a head.
fn first_query(batch: u32, head: u32) -> u32 {
  return (batch * params.all_heads + params.head_first + head) * params.query_count;
}

// The first key of a head.
fn first_key(batch: u32, head: u32) -> u32 {
  return (batch * params.key_heads + (params.head_first + head) / (params.all_heads / params.key_heads)) * params.key_count;
}

