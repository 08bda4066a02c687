// How attention's rows walk over the keys on a GPU: 64 at a time. A workgroup has 64 rows and 64 numbers of V. An invocation makes the logits
// of eight rows and four keys, and then the results of these rows for four numbers of V. Both are sums of products of slices, as
// `tile_staged.wgsl` has them: weights and values pass through the same memory as queries and keys, 16 keys at a time.
// Invocation t < 64 keeps the maximum and the sum of row t.
const LANES = TILE_LANES;
const ROWS = 64u;

// One number for each row: its maximum, and the factor of its previous results.
var<workgroup> maxima: array<f32, 64>;
var<workgroup> factors: array<f32, 64>;

fn value_elem(place: Place, key: u32, channel: u32, reach: u32) -> elem_f32 {
  let at = place.values + min(key, reach - 1u) * params.value_row + min(channel, params.value_channels - 1u);
  return select(elem_f32(), elem_f32(values[at]), (key < reach) & (channel < params.value_channels));
}

// Four numbers of a key's value, from this elem on. Keys from `reach` on, which have no weight, have zeros.
fn value_four(place: Place, key: u32, channel: u32, reach: u32) -> vec4<f32> {
  let a = value_elem(place, key, channel, reach);
  if ELEM_WIDTH == 4u { return four_of(a, a, a, a); }
  return four_of(
    a,
    value_elem(place, key, channel + 1u, reach),
    value_elem(place, key, channel + 2u, reach),
    value_elem(place, key, channel + 3u, reach),
  );
}

// `plus_slice` that leaves out what has no weight, even if it is NaN.
fn plus_taken(lane: Lane, sums: Eight) -> Eight {
  var all = sums;
  let row = tile_row(lane) / 4u;
  let column = tile_column(lane) / 4u;
  for (var i = 0u; i < 16u; i++) {
    let a = slice[i][row];
    let b = slice[i][row + 1u];
    let c = slice[COLUMNS + i][column];
    all.r0 += taken(a.x, c);
    all.r1 += taken(a.y, c);
    all.r2 += taken(a.z, c);
    all.r3 += taken(a.w, c);
    all.r4 += taken(b.x, c);
    all.r5 += taken(b.y, c);
    all.r6 += taken(b.z, c);
    all.r7 += taken(b.w, c);
  }
  return all;
}

// What a value adds to a row. The row does not see a key without weight.
fn taken(weight: f32, value: vec4<f32>) -> vec4<f32> {
  return select(weight * value, vec4<f32>(), weight == 0.0);
}

fn scaled(rows: Eight, a: vec4<f32>, b: vec4<f32>) -> Eight {
  return Eight(rows.r0 * a.x, rows.r1 * a.y, rows.r2 * a.z, rows.r3 * a.w, rows.r4 * b.x, rows.r5 * b.y, rows.r6 * b.z, rows.r7 * b.w);
}

fn four_maxima(row: u32) -> vec4<f32> {
  return vec4<f32>(maxima[row], maxima[row + 1u], maxima[row + 2u], maxima[row + 3u]);
}

fn four_factors(row: u32) -> vec4<f32> {
  return vec4<f32>(factors[row], factors[row + 1u], factors[row + 2u], factors[row + 3u]);
}

// The logits of the invocation's rows and its four keys, from `key` on.
fn logits_of(place: Place, row: u32, key: u32, tile: Tile) -> Eight {
  return Eight(
    row_logits(place, row, key, tile.r0),
    row_logits(place, row + 1u, key, tile.r1),
    row_logits(place, row + 2u, key, tile.r2),
    row_logits(place, row + 3u, key, tile.r3),
    row_logits(place, row + 4u, key, tile.r4),
    row_logits(place, row + 5u, key, tile.r5),
    row_logits(place, row + 6u, key, tile.r6),
    row_logits(place, row + 7u, key, tile.r7),
  );
}

// The weights of logits, given the maxima of their rows.
fn weights_of(logits: Eight, a: vec4<f32>, b: vec4<f32>) -> Eight {
  return Eight(
    row_weights(logits.r0, a.x),
    row_weights(logits.r1, a.y),
    row_weights(logits.r2, a.z),
    row_weights(logits.r3, a.w),
    row_weights(logits.r4, b.x),
    row_weights(logits.r5, b.y),
    row_weights(logits.r6, b.z),
    row_weights(logits.r7, b.w),
  );
}

// Keeps the invocation's weights of its i-th key.
fn keep_weights(lane: Lane, weights: Eight, i: u32) {
  let key = tile_column(lane) % 16u + i;
  let row = tile_row(lane) / 4u;
  slice[key][row] = vec4<f32>(weights.r0[i], weights.r1[i], weights.r2[i], weights.r3[i]);
  slice[key][row + 1u] = vec4<f32>(weights.r4[i], weights.r5[i], weights.r6[i], weights.r7[i]);
}

fn is_unbounded(rows: vec4<f32>) -> bool {
  return any((bitcast<vec4<u32>>(rows) & vec4<u32>(0x7fffffffu)) >= vec4<u32>(SPOILT));
}

fn is_spoilt(rows: Eight) -> bool {
  return is_unbounded(rows.r0) || is_unbounded(rows.r1) || is_unbounded(rows.r2) || is_unbounded(rows.r3)
    || is_unbounded(rows.r4) || is_unbounded(rows.r5) || is_unbounded(rows.r6) || is_unbounded(rows.r7);
}

fn store_numbers(place: Place, row: u32, channel: u32, numbers: vec4<f32>, factor: f32) {
  store_row(place, row, channel, elem_of(numbers), factor);
  if ELEM_WIDTH == 1u {
    store_row(place, row, channel + 1u, elem_of(numbers.yyyy), factor);
    store_row(place, row, channel + 2u, elem_of(numbers.zzzz), factor);
    store_row(place, row, channel + 3u, elem_of(numbers.wwww), factor);
  }
}

// The results of the workgroup's rows, which see no key before `start` and none from `reach` on. Call in uniform control flow.
fn attend(lane: Lane, place: Place, tile_first: u32, chunk: u32, start: u32, reach: u32) {
  let row = tile_first + tile_row(lane);
  let mine = tile_row(lane); // the first of the invocation's rows in the workgroup
  let quad = tile_column(lane) / 4u; // which four keys of a tile, and which four numbers of a chunk
  let channel = (chunk * 16u + quad) * 4u / ELEM_WIDTH;
  let first_key = lane.index / 16u; // the first of the two keys of a slice that it fetches, eight apart
  var results = Eight();
  var largest = LOWEST;
  var total = 0.0;
  var careful = false;
  loop {
    for (var first = start / 64u * 64u; first < reach; first += 64u) {
      let key = first + quad * 4u;
      let tile = dot_tile(lane, place, row, key, params.channels);
      let logits = logits_of(place, row, key, tile);
      workgroupBarrier(); // wait until the slice has been read
      slice[quad][mine / 4u] =
        vec4<f32>(largest_of(logits.r0), largest_of(logits.r1), largest_of(logits.r2), largest_of(logits.r3));
      slice[quad][mine / 4u + 1u] =
        vec4<f32>(largest_of(logits.r4), largest_of(logits.r5), largest_of(logits.r6), largest_of(logits.r7));
      workgroupBarrier();
      if lane.index < 64u {
        var grown = largest;
        for (var t = 0u; t < 16u; t++) {
          grown = max(grown, slice[t][lane.index / 4u][lane.index % 4u]);
        }
        // The exponential is rounded, so it is applied only if the maximum grew. So a masked tile changes nothing.
        let factor = select(exponential(vec4<f32>(largest - grown)).x, 1.0, largest == grown);
        largest = grown;
        total *= factor;
        maxima[lane.index] = grown;
        factors[lane.index] = factor;
      }
      workgroupBarrier();
      results = scaled(results, four_factors(mine), four_factors(mine + 4u));
      let weights = weights_of(logits, four_maxima(mine), four_maxima(mine + 4u));
      for (var part = 0u; part < min(64u, reach - first); part += 16u) {
        let near = value_four(place, first + part + first_key, channel, reach);
        let far = value_four(place, first + part + first_key + 8u, channel, reach);
        workgroupBarrier(); // wait until the previous slice has been read
        if quad / 4u == part / 16u {
          keep_weights(lane, weights, 0u);
          keep_weights(lane, weights, 1u);
          keep_weights(lane, weights, 2u);
          keep_weights(lane, weights, 3u);
        }
        slice[COLUMNS + first_key][quad] = near;
        slice[COLUMNS + first_key + 8u][quad] = far;
        workgroupBarrier();
        if lane.index < 64u {
          var sum = 0.0;
          for (var t = 0u; t < 16u; t++) {
            sum += slice[t][lane.index / 4u][lane.index % 4u];
          }
          total += sum;
        }
        if careful {
          results = plus_taken(lane, results);
        } else {
          results = plus_slice(lane, results);
        }
      }
    }
    if careful { break; }
    // An infinite or NaN value without weight gives a NaN. This is rare, so the loop does not ask, and all is done once more.
    if is_spoilt(results) { atomicStore(&spoilt, 1u); }
    careful = workgroupUniformLoad(&spoilt) == 1u;
    if !careful { break; }
    results = Eight();
    largest = LOWEST;
    total = 0.0;
  }

  if lane.index < 64u {
    factors[lane.index] = unless_spoilt(select(1.0 / total, 0.0, total == 0.0), largest);
    let of_tile = tile_first + lane.index;
    if (params.with_lse == 1u) & (chunk == 0u) & (of_tile < params.query_count) {
      lse[place.lse + of_tile] = log_sum(largest, total);
    }
  }
  workgroupBarrier();
  let a = four_factors(mine);
  let b = four_factors(mine + 4u);
  store_numbers(place, row, channel, results.r0, a.x);
  store_numbers(place, row + 1u, channel, results.r1, a.y);
  store_numbers(place, row + 2u, channel, results.r2, a.z);
  store_numbers(place, row + 3u, channel, results.r3, a.w);
  store_numbers(place, row + 4u, channel, results.r4, b.x);
  store_numbers(place, row + 5u, channel, results.r5, b.y);
  store_numbers(place, row + 6u, channel, results.r6, b.z);
  store_numbers(place, row + 7u, channel, results.r7, b.w);
}

