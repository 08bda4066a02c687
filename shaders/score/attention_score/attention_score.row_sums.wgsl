// The largest scaled and biased logit of each of many query rows, and the sum of the row's exponentials, over the keys that the row sees.
//
//   s[b,h,r,j]     = scale * queries[b,h,row(r)] . keys[b,h/(H/Hkv),j] + bias[b,j]
//   sums[0,b,h,r]  = max_j s[b,h,r,j],     sums[1,b,h,r] = sum_j exp(s[b,h,r,j] - sums[0,b,h,r])
//
// queries:       [B, H, M, D] elem
// keys:          [B, Hkv, N, D] elem
// lengths:       [B] u32; live keys
// query_lengths: [B] u32; live query rows
// bias:          [B, N] f32
// list:          [R] u32; the rows asked for
// sums:          [2, B, heads, R] f32; the sum is 0 if a row is dead or sees nothing, NaN if a logit that it sees is NaN
// logits:        [B, heads, ceil(R / 16), ceil(N / 32), 16, 8] of four f32, if KEPT; unscaled
//
// Cost: 2 R N D operations per head.
// Query-stationary: a workgroup has 64 rows and walks over the keys 64 at a time. An invocation keeps a running maximum and sum for each of
// its rows. At the end, the invocations of a row combine theirs. Nothing of size R x N is stored, unless KEPT. Tiles start at key 0
// whatever the padding.

override KEPT: u32 = 0u; // or 1

// The maxima of the tile's rows.
var<workgroup> maxima: array<f32, 64>;

// The largest logit of four rows so far, and the sum of exp(logit - largest).
struct Running {
  largest: vec4<f32>,
  sum: vec4<f32>,
}

// How many keys the r-th row sees.
alias Fact = u32;

fn row_fact(place: Place, r: u32) -> Fact {
  return visible_to(place, r);
}

// A row's logits of four keys, and which of them it sees.
struct Logits {
  values: vec4<f32>,
  seen: vec4<bool>,
}

fn logits_of(products: vec4<f32>, offset: vec4<f32>, key: vec4<u32>, fact: Fact) -> Logits {
  return Logits(marked(saturated(params.scale * products + offset)), key < vec4<u32>(fact));
}

fn largest_of(logits: Logits) -> f32 {
  let shown = select(vec4<f32>(LOWEST), logits.values, logits.seen);
  return max(max(shown.x, shown.y), max(shown.z, shown.w));
}

fn sum_of(logits: Logits, largest: f32) -> f32 {
  let terms = select(vec4<f32>(), exp(logits.values - largest), logits.seen);
  return (terms.x + terms.y) + (terms.z + terms.w);
}

// The running values of four rows after four more keys. Masked keys do not count.
fn add_rows(running: Running, a: Logits, b: Logits, c: Logits, d: Logits) -> Running {
  let largest = max(running.largest, vec4<f32>(largest_of(a), largest_of(b), largest_of(c), largest_of(d)));
  // The factor is rounded, so it is applied only if the maximum grew.
  let factor = select(exp(running.largest - largest), vec4<f32>(1.0), largest == running.largest);
  let sums = vec4<f32>(sum_of(a, largest.x), sum_of(b, largest.y), sum_of(c, largest.z), sum_of(d, largest.w));
  return Running(largest, running.sum * factor + sums);
}

// What the invocations of a row have, first their maxima and then their sums: [row of the tile, lane of keys].
fn show(slot: u32, values: vec4<f32>) {
  for (var i = 0u; i < 4u; i++) {
    show_number(slot + i * 16u, values[i]);
  }
}

// The sums of four rows, relative to the maxima of the whole rows.
fn rescaled(running: Running, row: u32) -> vec4<f32> {
  return running.sum * exp(running.largest - vec4<f32>(maxima[row], maxima[row + 1u], maxima[row + 2u], maxima[row + 3u]));
}

@compute @workgroup_size(TILE_LANES)
fn main(grid: Grid, lane: Lane) {
  let id = linear_group(grid);
  if id >= params.groups { return; }
  let tiles = (params.rows + 63u) / 64u;
  let head = id / tiles % params.heads;
  let batch = id / tiles / params.heads;
  let tile_first = id % tiles * 64u;
  let place = place_of(lane, batch, head);

  let row = tile_first + tile_row(lane);
  let kept_facts = share_facts(lane, place, row);
  let none = Running(vec4<f32>(LOWEST), vec4<f32>());
  var rows0 = none;
  var rows1 = none;
  var rows2 = none;
  var rows3 = none;
  // If the rows are in order, the last one sees the most keys.
  let last = min(tile_first + 63u, max(place.live_queries, 1u) - 1u);
  let reach = select(place.live_keys, visible_keys(last, place.live_queries, place.live_keys), params.every_row == 1u);
  let extent = Extent(select(params.rows, place.live_queries, params.every_row == 1u), reach, params.channels);
  for (var first = 0u; first < reach; first += 64u) {
    let column = first + tile_column(lane);
    let offset = key_bias(batch, column);
    let key = shown_keys(column, offset);
    let tile = dot_tile(lane, place, row, column, wanted_elems(lane, extent, row, first));
    let facts = shared_facts(lane, kept_facts); // here, so that they take no registers in the loop of products
    if (KEPT == 1u) & (row < params.rows) & (column < params.key_count) {
      let at = kept_at(place, row, column);
      logits[at] = tile.r0;
      logits[at + 8u] = tile.r1;
      logits[at + 16u] = tile.r2;
      logits[at + 24u] = tile.r3;
      if TILE_ROWS > 4u {
        logits[at + 32u] = tile.r4;
        logits[at + 40u] = tile.r5;
        logits[at + 48u] = tile.r6;
        logits[at + 56u] = tile.r7;
      }
      if TALL {
        logits[at + 64u] = tile.r8;
        logits[at + 72u] = tile.r9;
        logits[at + 80u] = tile.r10;
        logits[at + 88u] = tile.r11;
        logits[at + 96u] = tile.r12;
        logits[at + 104u] = tile.r13;
        logits[at + 112u] = tile.r14;
        logits[at + 120u] = tile.r15;
      }
    }
    rows0 = add_rows(
      rows0,
      logits_of(tile.r0, offset, key, facts.r0),
      logits_of(tile.r1, offset, key, facts.r1),
      logits_of(tile.r2, offset, key, facts.r2),
      logits_of(tile.r3, offset, key, facts.r3),
    );
    if TILE_ROWS > 4u {
      rows1 = add_rows(
        rows1,
        logits_of(tile.r4, offset, key, facts.r4),
        logits_of(tile.r5, offset, key, facts.r5),
        logits_of(tile.r6, offset, key, facts.r6),
        logits_of(tile.r7, offset, key, facts.r7),
      );
    }
    if TALL {
      rows2 = add_rows(
        rows2,
        logits_of(tile.r8, offset, key, facts.r8),
        logits_of(tile.r9, offset, key, facts.r9),
        logits_of(tile.r10, offset, key, facts.r10),
        logits_of(tile.r11, offset, key, facts.r11),
      );
      rows3 = add_rows(
        rows3,
        logits_of(tile.r12, offset, key, facts.r12),
        logits_of(tile.r13, offset, key, facts.r13),
        logits_of(tile.r14, offset, key, facts.r14),
        logits_of(tile.r15, offset, key, facts.r15),
      );
    }
  }

  let in_tile = tile_row(lane);
  let slot = in_tile * 16u + tile_column(lane) / 4u;
  workgroupBarrier(); // wait until the last tile has been read
  show(slot, rows0.largest);
  if TILE_ROWS > 4u { show(slot + 64u, rows1.largest); }
  if TALL {
    show(slot + 128u, rows2.largest);
    show(slot + 192u, rows3.largest);
  }
  workgroupBarrier();
  if lane.index < 64u {
    var most = LOWEST;
    for (var i = 0u; i < 16u; i++) {
      most = max(most, shown_number(lane.index * 16u + i));
    }
    maxima[lane.index] = most;
  }
  workgroupBarrier(); // the maxima are there, and what was shown has been read
  show(slot, rescaled(rows0, in_tile));
  if TILE_ROWS > 4u { show(slot + 64u, rescaled(rows1, in_tile + 4u)); }
  if TALL {
    show(slot + 128u, rescaled(rows2, in_tile + 8u));
    show(slot + 192u, rescaled(rows3, in_tile + 12u));
  }
  workgroupBarrier();
  let r = tile_first + lane.index;
  if lane.index < 64u && r < params.rows {
    let most = maxima[lane.index];
    var total = 0.0;
    for (var i = 0u; i < 16u; i++) {
      total += shown_number(lane.index * 16u + i);
    }
    let at = params.sums_base + (batch * params.heads + head) * params.rows + r;
    sums[at] = most;
    sums[at + params.batch * params.heads * params.rows] = unless_spoilt(total, most);
  }
}
