// Softmax attention that never stores the matrix of its weights.
//
//   s[i,j]   = scale * queries[b,h,i] . keys[b,h/(H/Hkv),j] + bias[b,h,i,j]
//   out[i]   = sum_j exp(s[i,j]) values[b,h/(H/Hkv),j] / sum_j exp(s[i,j])
//   lse[i]   = ln sum_j exp(s[i,j])
//
// queries:       [B, H, M, D] elem, or [B, M, H, D], as the strides say; the same holds for keys, values and out
// keys:          [B, Hkv, N, D] elem
// values:        [B, Hkv, N, V] elem
// lengths:       [B] u32; live keys
// query_lengths: [B] u32; live query rows
// bias:          [B or 1, H or 1, M or 1, N] f32; negative infinity hides a key from a row
// out:           [B, H, M, V] elem; 0 if a row is dead or sees nothing, NaN if a logit that it sees is NaN
// lse:           [B, H, M] f32, if asked for; negative infinity if a row is dead or sees nothing, NaN if a logit that it sees is NaN
//
// A key that a row does not see adds nothing to it, even if the key or its value is NaN. A key that the row sees has a weight of at least
// LEAST. So an infinite or NaN value that the row sees reaches the result, however small its weight.
//
// Cost: 2 M N (D + V) operations per head. Each further 16 elem of V after the first 16 cost 2 M N D more.
// A workgroup has ROWS rows and 16 elem of V. It walks over the keys, KEYS at a time, with a running maximum
// (https://arxiv.org/abs/2205.14135).
// An invocation first makes the logits of 16 rows and four keys, or of eight rows in the form for GPUs. Then it makes the results of these
// rows for one elem of V, or two if FAR.
// Several invocations share the same rows and exchange maxima and weights (`common/tile/shared_rows.wgsl`). The helper functions take four
// rows at a time. Tiles start at key 0 whatever the padding.

override BIASED: u32 = 0u; // or 1

// Live query rows and keys.
var<workgroup> live: vec2<u32>;

// 1 if a result of the workgroup is NaN or infinite.
var<workgroup> spoilt: atomic<u32>;

// Where the tensors of this batch row and head begin.
struct Place {
  queries: u32,
  keys: u32,
  values: u32,
  bias: u32,
  out: u32,
  lse: u32,
  live_queries: u32,
  live_keys: u32,
}

// One elem for each of four rows, or for each of four keys.
struct Four {
  r0: elem_f32,
  r1: elem_f32,
  r2: elem_f32,
  r3: elem_f32,
}

// The running state of four rows.
struct Rows {
  largest: vec4<f32>, // largest logit
  total: vec4<f32>, // sum of the weights of the invocation's own keys
  near: Four,
  far: Four,
}

// The running state of an invocation's rows, four at a time. Only tall tiles have the last eight.
struct Sixteen {
  r0: Rows,
  r1: Rows,
  r2: Rows,
  r3: Rows,
}

// Rows and keys past the last one read the last one. Their results are masked.
fn row_first(place: Place, row: u32) -> u32 {
  return place.queries + min(row, params.query_count - 1u) * params.query_row;
}

fn row_elem(at: u32) -> elem_f32 {
  return elem_f32(queries[at]);
}

fn column_first(place: Place, key: u32) -> u32 {
  return place.keys + min(key, params.key_count - 1u) * params.key_row;
}

fn column_elem(at: u32) -> elem_f32 {
  return elem_f32(keys[at]);
}

// Values of the four keys from this one on. Keys from `reach` on have no weight.
fn four_values(place: Place, key: u32, reach: u32, channel: u32) -> Four {
  let at = place.values + min(channel, params.value_channels - 1u);
  return Four(
    elem_f32(values[at + min(key, reach - 1u) * params.value_row]),
    elem_f32(values[at + min(key + 1u, reach - 1u) * params.value_row]),
    elem_f32(values[at + min(key + 2u, reach - 1u) * params.value_row]),
    elem_f32(values[at + min(key + 3u, reach - 1u) * params.value_row]),
  );
}

// How many keys, from the first on, this row sees. A dead row sees none. Causal masks are right-aligned.
fn visible_keys(place: Place, row: u32) -> u32 {
  let reach = row + 1u + place.live_keys;
  let seen = select(place.live_keys, reach - min(reach, place.live_queries), params.causal == 1u);
  return select(0u, seen, row < place.live_queries);
}

// A row's logits of the four keys from `key` on, given their products.
fn row_logits(place: Place, row: u32, key: u32, products: vec4<f32>) -> vec4<f32> {
  var logits = params.scale * products;
  var seen = vec4<u32>(key, key + 1u, key + 2u, key + 3u) < vec4<u32>(visible_keys(place, row));
  if BIASED == 1u {
    let at = place.bias + min(row, params.query_count - 1u) * params.bias_row;
    let last = params.key_count - 1u;
    let offset = vec4<f32>(
      bias[at + min(key, last)],
      bias[at + min(key + 1u, last)],
      bias[at + min(key + 2u, last)],
      bias[at + min(key + 3u, last)],
    );
    logits += offset;
    seen = seen & (bitcast<vec4<u32>>(offset) != vec4<u32>(HIDDEN));
  }
  return bitcast<vec4<f32>>(select(vec4<u32>(HIDDEN), bitcast<vec4<u32>>(marked(saturated(logits))), seen));
}

fn logits_of(place: Place, row: u32, key: u32, r0: vec4<f32>, r1: vec4<f32>, r2: vec4<f32>, r3: vec4<f32>) -> mat4x4<f32> {
  return mat4x4<f32>(
    row_logits(place, row, key, r0),
    row_logits(place, row + 1u, key, r1),
    row_logits(place, row + 2u, key, r2),
    row_logits(place, row + 3u, key, r3),
  );
}

fn largest_of(logits: vec4<f32>) -> f32 {
  let shown = select(logits, vec4<f32>(LOWEST), bitcast<vec4<u32>>(logits) == vec4<u32>(HIDDEN));
  return max(max(shown.x, shown.y), max(shown.z, shown.w));
}

fn maxima_of(logits: mat4x4<f32>) -> vec4<f32> {
  return vec4<f32>(largest_of(logits[0]), largest_of(logits[1]), largest_of(logits[2]), largest_of(logits[3]));
}

fn row_weights(logits: vec4<f32>, largest: f32) -> vec4<f32> {
  return select(exponential(logits - largest), vec4<f32>(), bitcast<vec4<u32>>(logits) == vec4<u32>(HIDDEN));
}

fn weights_of(logits: mat4x4<f32>, largest: vec4<f32>) -> mat4x4<f32> {
  return mat4x4<f32>(
    row_weights(logits[0], largest.x),
    row_weights(logits[1], largest.y),
    row_weights(logits[2], largest.z),
    row_weights(logits[3], largest.w),
  );
}

fn sum_of(v: vec4<f32>) -> f32 {
  return (v.x + v.y) + (v.z + v.w);
}

fn sums_of(weights: mat4x4<f32>) -> vec4<f32> {
  return vec4<f32>(sum_of(weights[0]), sum_of(weights[1]), sum_of(weights[2]), sum_of(weights[3]));
}

fn scaled(rows: Four, factor: vec4<f32>) -> Four {
  return Four(rows.r0 * factor.x, rows.r1 * factor.y, rows.r2 * factor.z, rows.r3 * factor.w);
}

// The rows rescaled to their new maxima.
fn grown(rows: Rows, maxima: vec4<f32>) -> Rows {
  let largest = max(rows.largest, maxima);
  // The exponential is rounded, so it is applied only if the maximum grew. So a masked tile changes nothing.
  let factor = select(exponential(rows.largest - largest), vec4<f32>(1.0), largest == rows.largest);
  return Rows(largest, rows.total * factor, scaled(rows.near, factor), scaled(rows.far, factor));
}

fn weighted(weights: vec4<f32>, keys: Four) -> elem_f32 {
  return (weights.x * keys.r0 + weights.y * keys.r1) + (weights.z * keys.r2 + weights.w * keys.r3);
}

fn plus(rows: Four, weights: mat4x4<f32>, keys: Four) -> Four {
  return Four(
    rows.r0 + weighted(weights[0], keys),
    rows.r1 + weighted(weights[1], keys),
    rows.r2 + weighted(weights[2], keys),
    rows.r3 + weighted(weights[3], keys),
  );
}

// What a key adds to a row. A key without weight adds nothing, because the row does not see it.
fn taken(weight: f32, key: elem_f32) -> elem_f32 {
  return select(weight * key, elem_f32(), weight == 0.0);
}

fn taken_four(weights: vec4<f32>, keys: Four) -> elem_f32 {
  return (taken(weights.x, keys.r0) + taken(weights.y, keys.r1)) + (taken(weights.z, keys.r2) + taken(weights.w, keys.r3));
}

fn plus_taken(rows: Four, weights: mat4x4<f32>, keys: Four) -> Four {
  return Four(
    rows.r0 + taken_four(weights[0], keys),
    rows.r1 + taken_four(weights[1], keys),
    rows.r2 + taken_four(weights[2], keys),
    rows.r3 + taken_four(weights[3], keys),
  );
}

// Whether a result of these rows is NaN or infinite.
fn is_spoilt(rows: Rows) -> bool {
  return is_unbounded(rows.near) || (FAR && is_unbounded(rows.far));
}

fn is_unbounded(keys: Four) -> bool {
  let largest = max(max(magnitude(keys.r0), magnitude(keys.r1)), max(magnitude(keys.r2), magnitude(keys.r3)));
  return any(largest >= elem_u32(SPOILT));
}

fn magnitude(key: elem_f32) -> elem_u32 {
  return bitcast<elem_u32>(key) & elem_u32(0x7fffffffu);
}

// The rows after four more keys, some of which a row may not see.
fn attended_taken(rows: Rows, weights: mat4x4<f32>, near: Four, far: Four) -> Rows {
  var more = rows;
  more.near = plus_taken(rows.near, weights, near);
  if FAR { more.far = plus_taken(rows.far, weights, far); }
  return more;
}

// The rows after four more keys.
fn attended(rows: Rows, weights: mat4x4<f32>, near: Four, far: Four) -> Rows {
  var more = rows;
  more.near = plus(rows.near, weights, near);
  if FAR { more.far = plus(rows.far, weights, far); }
  return more;
}

// A factor of 0 means that the row sees nothing. Any other row has a largest weight of 1.
fn store_row(place: Place, row: u32, channel: u32, result: elem_f32, factor: f32) {
  if (row < params.query_count) & (channel < params.value_channels) {
    out[place.out + row * params.out_row + channel] = elem(select(result * factor, elem_f32(), factor == 0.0));
  }
}

fn store_four(place: Place, row: u32, channel: u32, rows: Four, factor: vec4<f32>) {
  store_row(place, row, channel, rows.r0, factor.x);
  store_row(place, row + 1u, channel, rows.r1, factor.y);
  store_row(place, row + 2u, channel, rows.r2, factor.z);
  store_row(place, row + 3u, channel, rows.r3, factor.w);
}

fn store(place: Place, row: u32, channel: u32, rows: Rows, total: vec4<f32>) {
  var factor = select(vec4<f32>(1.0) / total, vec4<f32>(), total == vec4<f32>());
  for (var i = 0u; i < 4u; i++) { factor[i] = unless_spoilt(factor[i], rows.largest[i]); }
  store_four(place, row, channel, rows.near, factor);
  if FAR { store_four(place, row, channel + 8u, rows.far, factor); }
  if (params.with_lse == 1u) & (channel == 0u) {
    for (var i = 0u; i < 4u; i++) {
      if row + i < params.query_count { lse[place.lse + row + i] = log_sum(rows.largest[i], total[i]); }
    }
  }
}

// The invocation's rows after the keys below `reach`, of which they need those below `end`. A careful walk leaves out the values that have no
// weight. Call in uniform control flow.
fn attend(lane: Lane, place: Place, row: u32, channel: u32, reach: u32, end: u32, careful: bool) -> Sixteen {
  let extent = Extent(place.live_queries, reach, params.channels);
  let none = Rows(vec4<f32>(LOWEST), vec4<f32>(), Four(), Four());
  var rows0 = none;
  var rows1 = none;
  var rows2 = none;
  var rows3 = none;
  // On a CPU, a loop that exits at its head runs once more with all its invocations masked. So these loops exit at their ends.
  if reach > 0u {
    var first = 0u;
    loop {
      let key = first + shared_key(lane);
      let tile = dot_tile(lane, place, row, key, wanted_elems(lane, extent, row, first));
      let logits0 = logits_of(place, row, key, tile.r0, tile.r1, tile.r2, tile.r3);
      let logits1 = logits_of(place, row + 4u, key, tile.r4, tile.r5, tile.r6, tile.r7);
      let logits2 = logits_of(place, row + 8u, key, tile.r8, tile.r9, tile.r10, tile.r11);
      let logits3 = logits_of(place, row + 12u, key, tile.r12, tile.r13, tile.r14, tile.r15);
      let maxima = over_lanes(lane, maxima_of(logits0), maxima_of(logits1), maxima_of(logits2), maxima_of(logits3), false);
      rows0 = grown(rows0, maxima[0]);
      rows1 = grown(rows1, maxima[1]);
      rows2 = grown(rows2, maxima[2]);
      rows3 = grown(rows3, maxima[3]);
      let weights0 = weights_of(logits0, rows0.largest);
      let weights1 = weights_of(logits1, rows1.largest);
      let weights2 = weights_of(logits2, rows2.largest);
      let weights3 = weights_of(logits3, rows3.largest);
      rows0.total += sums_of(weights0);
      rows1.total += sums_of(weights1);
      rows2.total += sums_of(weights2);
      rows3.total += sums_of(weights3);
      var part = 0u;
      loop {
        share_weights(lane, part, weights0, weights1, weights2, weights3);
        var four = 0u;
        loop {
          let near = four_values(place, first + part + four, reach, channel);
          var far = Four();
          if FAR { far = four_values(place, first + part + four, reach, channel + 8u); }
          let of_rows0 = shared_weights(lane, 0u, four / 4u, weights0);
          let of_rows1 = shared_weights(lane, 4u, four / 4u, weights1);
          let of_rows2 = shared_weights(lane, 8u, four / 4u, weights2);
          let of_rows3 = shared_weights(lane, 12u, four / 4u, weights3);
          if careful {
            rows0 = attended_taken(rows0, of_rows0, near, far);
            rows1 = attended_taken(rows1, of_rows1, near, far);
            rows2 = attended_taken(rows2, of_rows2, near, far);
            rows3 = attended_taken(rows3, of_rows3, near, far);
          } else {
            rows0 = attended(rows0, of_rows0, near, far);
            rows1 = attended(rows1, of_rows1, near, far);
            rows2 = attended(rows2, of_rows2, near, far);
            rows3 = attended(rows3, of_rows3, near, far);
          }
          continuing {
            four += 4u;
            break if (four == 32u) | (first + part + four >= end);
          }
        }
        continuing {
          part += 32u;
          break if part >= KEYS;
        }
      }
      continuing {
        first += KEYS;
        break if first >= reach;
      }
    }
  }
  return Sixteen(rows0, rows1, rows2, rows3);
}

@compute @workgroup_size(LANES)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  lane: Lane,
) {
  let id = linear_group(group, groups);
  if id >= params.groups { return; }
  let tiles = (params.query_count + ROWS - 1u) / ROWS;
  let chunk = id % params.chunks;
  let tile_first = id / params.chunks % tiles * ROWS;
  let head = id / params.chunks / tiles % params.heads;
  let batch = id / params.chunks / tiles / params.heads;
  let key_head = head / (params.heads / params.key_heads);
  if lane.index == 0u {
    atomicStore(&spoilt, 0u);
    live = vec2<u32>(
      min(query_lengths[params.query_lengths_base + batch], params.query_count),
      min(lengths[params.lengths_base + batch], params.key_count),
    );
  }
  let counts = workgroupUniformLoad(&live);
  let place = Place(
    params.queries_base + batch * params.heads * params.query_count * params.channels + head * params.query_head,
    params.keys_base + batch * params.key_heads * params.key_count * params.channels + key_head * params.key_head,
    params.values_base + batch * params.key_heads * params.key_count * params.value_channels + key_head * params.value_head,
    params.bias_base + batch * params.bias_batch + head * params.bias_head,
    params.out_base + batch * params.heads * params.query_count * params.value_channels + head * params.out_head,
    params.lse_base + (batch * params.heads + head) * params.query_count,
    counts.x,
    counts.y,
  );
  // The last live row sees the most keys.
  let last = min(tile_first + ROWS, max(place.live_queries, 1u)) - 1u;
  let reach = select(0u, visible_keys(place, last), tile_first < place.live_queries);

  let row = tile_first + shared_row(lane);
  let channel = chunk * 16u + shared_channel(lane);
  // Sixteen dead rows take no time.
  let end = select(0u, reach, row < place.live_queries);
  var rows = attend(lane, place, row, channel, reach, end, false);
  // An infinite or NaN value without weight gives a NaN. This is rare, so the loop does not ask, and all is done once more.
  if is_spoilt(rows.r0) || is_spoilt(rows.r1) || (TALL && (is_spoilt(rows.r2) || is_spoilt(rows.r3))) {
    atomicStore(&spoilt, 1u);
  }
  if workgroupUniformLoad(&spoilt) == 1u {
    rows = attend(lane, place, row, channel, reach, end, true);
  }

  let totals = over_lanes(lane, rows.r0.total, rows.r1.total, rows.r2.total, rows.r3.total, true);
  store(place, row, channel, rows.r0, totals[0]);
  store(place, row + 4u, channel, rows.r1, totals[1]);
  if TALL {
    store(place, row + 8u, channel, rows.r2, totals[2]);
    store(place, row + 12u, channel, rows.r3, totals[3]);
  }
}
