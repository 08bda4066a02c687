// Softmax attention of few query rows, first pass: each workgroup attends to its own 256 keys. `attention.few_merge.wgsl` merges the parts.
//
//   s[i,j]       = scale * queries[b,h,i] . keys[b,h/(H/Hkv),j] + bias[b,h,i,j]
//                  with soft caps and windows as in `attention.wgsl`
//   weight[i,j]  = exp(s[i,j] - largest[i]) / 256
//   partial[i]   = sum_j weight[i,j] values[b,h/(H/Hkv),j],     total[i] = sum_j weight[i,j]
//
// queries, keys, values, lengths, query_lengths, bias: as in `attention.wgsl`
// partial: [B, H, M, chunks, V] elem_f32; undefined if the row sees none of the chunk's keys
// facts:   [B, H, M, chunks, 2] f32; largest and total; LOWEST and 0 if the row sees none of the chunk's keys
//
// `paged_attention` has the pages of a list as its keys, in the list's order: PAGED = 1. `query_lengths` are then the live pages of the list.
//
// What a row does not see, infinities and NaNs are as in `attention.wgsl`. Weights are divided by 256, so that the values of a chunk
// cannot add up to more than the largest of them.
//
// Cost: 2 M N (D + V) operations per head; keys and values are read once for every ROWS rows. On a GPU eight invocations share a key, so
// that neighbours read neighbouring addresses. On a CPU an invocation has keys of its own. Uses 8 KiB of workgroup memory.

override ROWS: u32 = 1u; // or 4
override SHARE: u32 = 1u; // or 8: invocations that share a key
const LANES = 64u;
const KEYS = 256u; // of a chunk
const SPAN = 32u; // invocations with different elems of V; two of them share one

// Logits of four keys, then their weights: [row, four keys].
var<workgroup> weights: array<array<vec4<f32>, 64>, 4>;
// What each invocation has for a row: [row, invocation].
var<workgroup> parts: array<array<vec4<f32>, 64>, 4>;

fn vector_of(a: elem_f32) -> vec4<f32> {
  if ELEM_WIDTH == 4u { return vec4<f32>(elem_number(a, 0u), elem_number(a, 1u), elem_number(a, 2u), elem_number(a, 3u)); }
  return vec4<f32>(elem_number(a, 0u));
}

// `row_weights` divided by 256. A visible key keeps a weight of at least LEAST.
fn small_weights(logits: vec4<f32>, largest: f32) -> vec4<f32> {
  let shown = max(exponential(logits - largest) * 0.00390625, vec4<f32>(LEAST));
  return select(shown, vec4<f32>(), bitcast<vec4<u32>>(logits) == vec4<u32>(HIDDEN));
}

fn sum_of(v: vec4<f32>) -> f32 {
  return (v.x + v.y) + (v.z + v.w);
}

// What a key adds to a row. A key without weight adds nothing, because the row does not see it.
fn taken(weight: f32, value: elem_f32) -> elem_f32 {
  return select(weight * value, elem_f32(), weight == 0.0);
}

fn taken_four(weights: vec4<f32>, v0: elem_f32, v1: elem_f32, v2: elem_f32, v3: elem_f32) -> elem_f32 {
  return (taken(weights.x, v0) + taken(weights.y, v1)) + (taken(weights.z, v2) + taken(weights.w, v3));
}

// Makes the chunk's logits for the rows from `row` on. Call in uniform control flow.
fn make_logits(lane: Lane, place: Place, row: u32, first: u32, reach: u32) {
  let groups = LANES / SHARE;
  let row0 = row_first(place, row);
  let row1 = row_first(place, row + 1u);
  let row2 = row_first(place, row + 2u);
  let row3 = row_first(place, row + 3u);
  for (var done = 0u; done < 64u; done += groups) {
    let quad = done + lane.index / SHARE;
    let key = first + quad * 4u;
    let four = four_keys(place, key);
    let column0 = column_first(place, four.x);
    let column1 = column_first(place, four.y);
    let column2 = column_first(place, four.z);
    let column3 = column_first(place, four.w);
    var r0 = vec4<f32>();
    var r1 = vec4<f32>();
    var r2 = vec4<f32>();
    var r3 = vec4<f32>();
    // Keys that no row sees take no time.
    let elems = select(0u, params.channels, key < reach);
    for (var k = lane.index % SHARE; k < elems; k += SHARE) {
      let b0 = column_elem(column0 + k);
      let b1 = column_elem(column1 + k);
      let b2 = column_elem(column2 + k);
      let b3 = column_elem(column3 + k);
      r0 += products(row_elem(row0 + k), b0, b1, b2, b3);
      if ROWS > 1u {
        r1 += products(row_elem(row1 + k), b0, b1, b2, b3);
        r2 += products(row_elem(row2 + k), b0, b1, b2, b3);
        r3 += products(row_elem(row3 + k), b0, b1, b2, b3);
      }
    }
    if SHARE == 1u {
      weights[0][quad] = row_logits(place, row, key, r0);
      if ROWS > 1u {
        weights[1][quad] = row_logits(place, row + 1u, key, r1);
        weights[2][quad] = row_logits(place, row + 2u, key, r2);
        weights[3][quad] = row_logits(place, row + 3u, key, r3);
      }
    } else {
      parts[0][lane.index] = r0;
      if ROWS > 1u {
        parts[1][lane.index] = r1;
        parts[2][lane.index] = r2;
        parts[3][lane.index] = r3;
      }
      workgroupBarrier();
      if lane.index < ROWS * groups {
        let r = lane.index / groups;
        let g = lane.index % groups;
        var sum = vec4<f32>();
        for (var t = 0u; t < SHARE; t++) { sum += parts[r][g * SHARE + t]; }
        weights[r][done + g] = row_logits(place, row + r, first + (done + g) * 4u, sum);
      }
      workgroupBarrier(); // the next turn writes the parts again
    }
  }
  workgroupBarrier();
}

// The largest logit of a row, of the 16 maxima of its parts.
fn largest_part(r: u32) -> f32 {
  var largest = LOWEST;
  for (var t = 0u; t < 16u; t++) { largest = max(largest, parts[r][t].x); }
  return largest;
}

// Where a row's numbers of this chunk are.
fn chunk_of_row(batch: u32, head: u32, row: u32, chunk: u32) -> u32 {
  return ((batch * params.heads + head) * params.query_count + row) * params.chunks + chunk;
}

@compute @workgroup_size(LANES)
fn main(grid: Grid, lane: Lane) {
  let id = linear_group(grid);
  if id >= params.groups { return; }
  // Workgroups that read the same keys are neighbours.
  let tiles = (params.query_count + ROWS - 1u) / ROWS;
  let heads_of_key = params.heads / params.key_heads;
  let row = id % tiles * ROWS;
  let chunk = id / tiles / heads_of_key % params.chunks;
  let key_head = id / tiles / heads_of_key / params.chunks % params.key_heads;
  let head = key_head * heads_of_key + id / tiles % heads_of_key;
  let batch = id / tiles / heads_of_key / params.chunks / params.key_heads;
  if lane.index == 0u {
    live = vec2<u32>(
      min(query_lengths[params.query_lengths_base + batch], select(params.query_count, params.pages, PAGED == 1u)),
      min(lengths[params.lengths_base + batch], params.key_count),
    );
  }
  let counts = workgroupUniformLoad(&live);
  let place = Place(
    params.queries_base + batch * params.heads * params.query_count * params.channels + head * params.query_head,
    params.keys_base + batch * params.key_heads * params.key_count * params.channels + key_head * params.key_head,
    params.values_base + batch * params.key_heads * params.key_count * params.value_channels + key_head * params.value_head,
    params.bias_base + batch * params.bias_batch + head * params.bias_head,
    0u,
    0u,
    select(counts.x, params.query_count, PAGED == 1u),
    counts.y,
    select(0u, counts.x << params.page_bits, PAGED == 1u),
  );
  // The last live row sees the most keys.
  let last = min(row + ROWS, max(place.live_queries, 1u)) - 1u;
  var reach = select(0u, visible_keys(place, last), row < place.live_queries);
  if PAGED == 1u { reach = place.listed; }
  let first = chunk * KEYS;
  // The first row sees the earliest keys.
  if first >= reach || first + KEYS <= first_key(place, row) {
    if (lane.index < ROWS) & (row + lane.index < params.query_count) {
      let at = params.facts_base + chunk_of_row(batch, head, row + lane.index, chunk) * 2u;
      facts[at] = LOWEST;
      facts[at + 1u] = 0.0;
    }
    return;
  }

  make_logits(lane, place, row, first, reach);
  for (var i = lane.index; i < ROWS * 16u; i += LANES) {
    let r = i / 16u;
    let t = i % 16u;
    let near = max(largest_of(weights[r][t]), largest_of(weights[r][t + 16u]));
    let far = max(largest_of(weights[r][t + 32u]), largest_of(weights[r][t + 48u]));
    parts[r][t] = vec4<f32>(max(near, far));
  }
  workgroupBarrier();
  for (var r = 0u; r < ROWS; r++) {
    weights[r][lane.index] = small_weights(weights[r][lane.index], largest_part(r));
  }
  workgroupBarrier();
  for (var i = lane.index; i < ROWS * 16u; i += LANES) {
    let r = i / 16u;
    let t = i % 16u;
    parts[r][t + 16u] = vec4<f32>(sum_of((weights[r][t] + weights[r][t + 16u]) + (weights[r][t + 32u] + weights[r][t + 48u])));
  }
  workgroupBarrier();
  if (lane.index < ROWS) & (row + lane.index < params.query_count) {
    var total = 0.0;
    for (var t = 16u; t < 32u; t++) { total += parts[lane.index][t].x; }
    let at = params.facts_base + chunk_of_row(batch, head, row + lane.index, chunk) * 2u;
    facts[at] = largest_part(lane.index);
    facts[at + 1u] = total;
  }

  let half = lane.index / SPAN;
  let quads = (min(reach - first, KEYS) + 3u) / 4u;
  for (var next = 0u; next < params.value_channels; next += SPAN) {
    let channel = next + lane.index % SPAN;
    let at = place.values + min(channel, params.value_channels - 1u);
    var r0 = elem_f32();
    var r1 = elem_f32();
    var r2 = elem_f32();
    var r3 = elem_f32();
    for (var quad = half; quad < quads; quad += 2u) {
      let key = first + quad * 4u;
      let four = min(four_keys(place, key), vec4<u32>(select(reach, params.key_count, PAGED == 1u) - 1u));
      let v0 = elem_f32(values[at + four.x * params.value_row]);
      let v1 = elem_f32(values[at + four.y * params.value_row]);
      let v2 = elem_f32(values[at + four.z * params.value_row]);
      let v3 = elem_f32(values[at + four.w * params.value_row]);
      r0 += taken_four(weights[0][quad], v0, v1, v2, v3);
      if ROWS > 1u {
        r1 += taken_four(weights[1][quad], v0, v1, v2, v3);
        r2 += taken_four(weights[2][quad], v0, v1, v2, v3);
        r3 += taken_four(weights[3][quad], v0, v1, v2, v3);
      }
    }
    workgroupBarrier(); // wait until the parts have been read
    parts[0][lane.index] = vector_of(r0);
    if ROWS > 1u {
      parts[1][lane.index] = vector_of(r1);
      parts[2][lane.index] = vector_of(r2);
      parts[3][lane.index] = vector_of(r3);
    }
    workgroupBarrier();
    // The two halves of the keys: one invocation of each pair stores every other row.
    for (var r = half; r < ROWS; r += 2u) {
      if (row + r < params.query_count) & (channel < params.value_channels) {
        let pair = lane.index % SPAN;
        let sum = parts[r][pair] + parts[r][pair + SPAN];
        partial[params.partial_base + chunk_of_row(batch, head, row + r, chunk) * params.value_channels + channel] = elem_of(sum);
      }
    }
  }
}
