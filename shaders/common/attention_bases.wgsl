// Where attention_score's queries and keys begin. The including shader declares `params`.
// Where a query row's channels begin. Rows beyond the last read the last: what comes of them is masked.
fn query_base(batch: u32, head: u32, row: u32) -> u32 {
  let row_of_head = (batch * params.all_heads + params.head_first + head) * params.query_count;
  return params.queries_base + (row_of_head + min(row, params.query_count - 1u)) * params.channels;
}

// Where a key's channels begin. Keys beyond the last read the last: what comes of them is masked.
fn key_base(batch: u32, head: u32, key: u32) -> u32 {
  let key_head = (params.head_first + head) / (params.all_heads / params.key_heads);
  let row_of_head = (batch * params.key_heads + key_head) * params.key_count;
  return params.keys_base + (row_of_head + min(key, params.key_count - 1u)) * params.channels;
}
