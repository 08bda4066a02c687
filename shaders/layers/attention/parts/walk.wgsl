// How attention's rows walk over the keys on a CPU: KEYS at a time. An invocation first makes the logits of 16 rows and four keys. Then it
// makes the results of these rows for one elem of V, or two if FAR. Several invocations share the same rows, and exchange maxima and weights.
// The helper functions take four rows at a time. `walk_portable.wgsl` or `walk_subgroup.wgsl` comes before.
// Each chunk of V has 16 elem.

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

// The running state of an invocation's rows, four at a time.
struct Sixteen {
  r0: Rows,
  r1: Rows,
  r2: Rows,
  r3: Rows,
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

fn logits_of(place: Place, row: u32, key: u32, r0: vec4<f32>, r1: vec4<f32>, r2: vec4<f32>, r3: vec4<f32>) -> mat4x4<f32> {
  return mat4x4<f32>(
    row_logits(place, row, key, r0),
    row_logits(place, row + 1u, key, r1),
    row_logits(place, row + 2u, key, r2),
    row_logits(place, row + 3u, key, r3),
  );
}

fn maxima_of(logits: mat4x4<f32>) -> vec4<f32> {
  return vec4<f32>(largest_of(logits[0]), largest_of(logits[1]), largest_of(logits[2]), largest_of(logits[3]));
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

// The invocation's rows after the keys from `start` to below `reach`, of which they need those below `end`. A careful walk leaves out the values that have no
// weight. Call in uniform control flow.
fn walk(lane: Lane, place: Place, row: u32, channel: u32, start: u32, reach: u32, end: u32, careful: bool) -> Sixteen {
  let extent = Extent(place.live_queries, reach, params.channels);
  let none = Rows(vec4<f32>(LOWEST), vec4<f32>(), Four(), Four());
  var rows0 = none;
  var rows1 = none;
  var rows2 = none;
  var rows3 = none;
  // On a CPU, a loop that exits at its head runs once more with all its invocations masked. So these loops exit at their ends.
  if reach > 0u {
    var first = start / KEYS * KEYS;
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

// The results of the workgroup's rows, which see no key before `start` and none from `reach` on. Call in uniform control flow.
fn attend(lane: Lane, place: Place, tile_first: u32, chunk: u32, start: u32, reach: u32) {
  let row = tile_first + shared_row(lane);
  let channel = chunk * 16u + shared_channel(lane);
  // Sixteen dead rows take no time.
  let end = select(0u, reach, row < place.live_queries);
  var rows = walk(lane, place, row, channel, start, reach, end, false);
  // An infinite or NaN value without weight gives a NaN. This is rare, so the loop does not ask, and all is done once more.
  if is_spoilt(rows.r0) || is_spoilt(rows.r1) || is_spoilt(rows.r2) || is_spoilt(rows.r3) {
    atomicStore(&spoilt, 1u);
  }
  if workgroupUniformLoad(&spoilt) == 1u {
    rows = walk(lane, place, row, channel, start, reach, end, true);
  }

  let totals = over_lanes(lane, rows.r0.total, rows.r1.total, rows.r2.total, rows.r3.total, true);
  store(place, row, channel, rows.r0, totals[0]);
  store(place, row + 4u, channel, rows.r1, totals[1]);
  store(place, row + 8u, channel, rows.r2, totals[2]);
  store(place, row + 12u, channel, rows.r3, totals[3]);
}
