// 8x8 tiles of dot products for attention_score's wide passes, behind attention_rows and attention_bases. The including shader declares
// `params`, `queries`, `keys`, `bias` and `list`.
// The same of the r-th row asked for, which may be beyond the last.
fn row_base(batch: u32, head: u32, r: u32, live_queries: u32) -> u32 {
  if r >= params.rows { return query_base(batch, head, 0u); }
  return query_base(batch, head, query_row(r, live_queries));
}

// How many keys the r-th row asked for sees.
fn visible_to(r: u32, live_queries: u32, live_keys: u32) -> u32 {
  if r >= params.rows { return 0u; }
  return visible_keys(query_row(r, live_queries), live_queries, live_keys);
}

fn key_bases(batch: u32, head: u32, key: vec4<u32>) -> vec4<u32> {
  return vec4<u32>(
    key_base(batch, head, key.x),
    key_base(batch, head, key.y),
    key_base(batch, head, key.z),
    key_base(batch, head, key.w),
  );
}

// One number for each of the tile's eight rows or keys.
struct Eight {
  near: vec4<u32>,
  far: vec4<u32>,
}

// Dot products of eight query rows with eight keys: an 8x8 tile in registers, named, since arrays of accumulators would
// not stay in registers everywhere. Row i is `near_i` for the first four keys and `far_i` for the others.
struct Tile {
  near0: vec4<f32>,
  far0: vec4<f32>,
  near1: vec4<f32>,
  far1: vec4<f32>,
  near2: vec4<f32>,
  far2: vec4<f32>,
  near3: vec4<f32>,
  far3: vec4<f32>,
  near4: vec4<f32>,
  far4: vec4<f32>,
  near5: vec4<f32>,
  far5: vec4<f32>,
  near6: vec4<f32>,
  far6: vec4<f32>,
  near7: vec4<f32>,
  far7: vec4<f32>,
}

// What one step along the dot product adds to half a row of a tile: a with each of four.
fn products(a: elem_f32, b0: elem_f32, b1: elem_f32, b2: elem_f32, b3: elem_f32) -> vec4<f32> {
  return vec4<f32>(elem_dot(a, b0), elem_dot(a, b1), elem_dot(a, b2), elem_dot(a, b3));
}

fn dot_tile(rows: Eight, cols: Eight) -> Tile {
  var near0 = vec4<f32>();
  var far0 = vec4<f32>();
  var near1 = vec4<f32>();
  var far1 = vec4<f32>();
  var near2 = vec4<f32>();
  var far2 = vec4<f32>();
  var near3 = vec4<f32>();
  var far3 = vec4<f32>();
  var near4 = vec4<f32>();
  var far4 = vec4<f32>();
  var near5 = vec4<f32>();
  var far5 = vec4<f32>();
  var near6 = vec4<f32>();
  var far6 = vec4<f32>();
  var near7 = vec4<f32>();
  var far7 = vec4<f32>();
  for (var c = 0u; c < params.channels; c++) {
    let k0 = elem_f32(keys[cols.near.x + c]);
    let k1 = elem_f32(keys[cols.near.y + c]);
    let k2 = elem_f32(keys[cols.near.z + c]);
    let k3 = elem_f32(keys[cols.near.w + c]);
    let k4 = elem_f32(keys[cols.far.x + c]);
    let k5 = elem_f32(keys[cols.far.y + c]);
    let k6 = elem_f32(keys[cols.far.z + c]);
    let k7 = elem_f32(keys[cols.far.w + c]);
    let q0 = elem_f32(queries[rows.near.x + c]);
    near0 += products(q0, k0, k1, k2, k3);
    far0 += products(q0, k4, k5, k6, k7);
    let q1 = elem_f32(queries[rows.near.y + c]);
    near1 += products(q1, k0, k1, k2, k3);
    far1 += products(q1, k4, k5, k6, k7);
    let q2 = elem_f32(queries[rows.near.z + c]);
    near2 += products(q2, k0, k1, k2, k3);
    far2 += products(q2, k4, k5, k6, k7);
    let q3 = elem_f32(queries[rows.near.w + c]);
    near3 += products(q3, k0, k1, k2, k3);
    far3 += products(q3, k4, k5, k6, k7);
    let q4 = elem_f32(queries[rows.far.x + c]);
    near4 += products(q4, k0, k1, k2, k3);
    far4 += products(q4, k4, k5, k6, k7);
    let q5 = elem_f32(queries[rows.far.y + c]);
    near5 += products(q5, k0, k1, k2, k3);
    far5 += products(q5, k4, k5, k6, k7);
    let q6 = elem_f32(queries[rows.far.z + c]);
    near6 += products(q6, k0, k1, k2, k3);
    far6 += products(q6, k4, k5, k6, k7);
    let q7 = elem_f32(queries[rows.far.w + c]);
    near7 += products(q7, k0, k1, k2, k3);
    far7 += products(q7, k4, k5, k6, k7);
  }
  return Tile(near0, far0, near1, far1, near2, far2, near3, far3, near4, far4, near5, far5, near6, far6, near7, far7);
}

// Bias of four keys from this one on.
fn key_bias(batch: u32, key: u32) -> vec4<f32> {
  if params.biased == 0u { return vec4<f32>(); }
  let first = params.bias_base + batch * params.key_count;
  let last = params.key_count - 1u;
  return vec4<f32>(
    bias[first + min(key, last)],
    bias[first + min(key + 1u, last)],
    bias[first + min(key + 2u, last)],
    bias[first + min(key + 3u, last)],
  );
}

