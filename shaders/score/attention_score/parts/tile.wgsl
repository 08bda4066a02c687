// The rows and columns of the tiles in attention_score's wide passes. Included after attention_place and before tile. The including shader
// declares `params`, `queries` and `keys`.

// The r-th of the rows asked for, which may be past the last one.
fn row_first(place: Place, r: u32) -> u32 {
  return query_base(place.query, query_row(min(r, params.rows - 1u), place.live_queries));
}

fn row_elem(at: u32) -> elem_f32 {
  return elem_f32(queries[at]);
}

fn column_first(place: Place, key: u32) -> u32 {
  return key_base(place.key, key);
}

fn column_elem(at: u32) -> elem_f32 {
  return elem_f32(keys[at]);
}

