// Where a query row and a key of attention_score begin. Included after attention_rows. The including shader declares `params`.

// Where a query row's channels begin, counted from the head's first element. Rows past the last one read the last one; their results are
// masked.
fn query_base(first: u32, row: u32) -> u32 {
  return params.queries_base + (first + min(row, params.query_count - 1u)) * params.channels;
}

// Where a key's channels begin. Keys past the last one read the last one; their results are masked.
fn key_base(first: u32, key: u32) -> u32 {
  return params.keys_base + (first + min(key, params.key_count - 1u)) * params.channels;
}

