// Where a row of attention_score's queries, and one of its keys, begins, behind attention_rows. The including shader declares `params`.
// Where the channels of a query row, from the head's first on, begin. Rows beyond the last read the last: what comes of them is masked.
fn query_base(first: u32, row: u32) -> u32 {
  return params.queries_base + (first + min(row, params.query_count - 1u)) * params.channels;
}

// Where a key's channels begin. Keys beyond the last read the last: what comes of them is masked.
fn key_base(first: u32, key: u32) -> u32 {
  return params.keys_base + (first + min(key, params.key_count - 1u)) * params.channels;
}

