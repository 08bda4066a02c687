// The first k of each row in the crate's total order, for rows of at most 2048 tokens. One workgroup sorts a whole row.
//
// Order: protected tokens by index; then scores, largest (or smallest) first, -0 equal to +0, NaN last; equal scores by
// lowest index. Excluded and dead tokens are never selected.
//
// scores:  [rows, tokens] elem
// lengths: [rows / rows_per_length] u32, live tokens of a row
// counts:  [rows / rows_per_count] u32, how many to select, at most k
// marks:   [tokens] or [rows, tokens] u32: 1 protected, 2 excluded
// indices: [rows, k] u32 by rank or by index, NONE after the kept ones
// values:  [rows, k] f32, 0 after the kept ones
// kept:    [rows] u32
// rest:    [rows, capacity] u32 live tokens that are not selected, by rank or by index, then NONE; or [rows, tokens] u32, a mask of the
//          selected, or their places among `indices` and NONE for all others
//
// Cost: one dispatch; one read of the scores (two if something is written by index), one write of every output; log2(tokens)^2 / 2 steps of
// a bitonic network.

const NONE = 0xffffffffu;
const REST_BY_RANK = 1u;
const REST_BY_INDEX = 2u;
const REST_MASK = 3u;
const REST_PLACES = 4u;

fn score_of(row: u32, token: u32) -> f32 {
  return f32(scores[params.scores_base + row * params.tokens + token]);
}

fn key_of(row: u32, token: u32, live: u32) -> u32 {
  if token >= live { return KEY_DEAD; }
  if params.marked != 0u {
    let mark = marks[params.marks_base + row * params.marks_stride + token];
    if mark == 1u { return KEY_PROTECTED; }
    if mark == 2u { return KEY_DEAD; }
  }
  let score = score_of(row, token);
  if params.smallest != 0u { return order_key_smallest(score); }
  return order_key(score);
}

@compute @workgroup_size(WG)
fn main(grid: Grid, lane: Lane) {
  let row = linear_group(grid);
  if row >= params.rows { return; }
  let live = min(lengths[params.lengths_base + row / params.rows_per_length], params.tokens);
  for (var word = lane.index; word < params.span / 2u; word += WG) {
    sort_keys[word] = vec2<u32>(key_of(row, 2u * word, live), key_of(row, 2u * word + 1u, live));
    sort_places[word] = (2u * word) | ((2u * word + 1u) << 16u);
  }
  sort_blocks(lane, WG, params.span, params.span);

  // Candidates have keys above 0 and come first.
  var candidates = 0u;
  for (var stride = params.span; stride > 0u; stride /= 2u) {
    let beyond = candidates + stride;
    if beyond <= params.span && sorted_key(beyond - 1u) > KEY_DEAD {
      candidates = beyond;
    }
  }
  let limit = min(counts[params.counts_base + row / params.rows_per_count], params.k);
  let selected = min(limit, candidates);
  if lane.index == 0u {
    kept[params.kept_base + row] = selected;
  }

  let out = params.indices_base + row * params.k;
  let out_values = params.values_base + row * params.k;
  let out_rest = params.rest_base + row * params.capacity;
  if params.by_index == 0u {
    for (var rank = lane.index; rank < selected; rank += WG) {
      let token = sorted_place(rank);
      indices[out + rank] = token;
      values[out_values + rank] = score_of(row, token);
    }
  }
  for (var i = selected + lane.index; i < params.k; i += WG) {
    indices[out + i] = NONE;
    values[out_values + i] = 0.0;
  }
  if params.rest_kind == REST_BY_RANK || params.rest_kind == REST_BY_INDEX {
    for (var i = live - selected + lane.index; i < params.capacity; i += WG) {
      rest[out_rest + i] = NONE;
    }
  }
  if params.rest_kind == REST_BY_RANK {
    // After the candidates, the excluded come before the dead, because their indices are lower.
    for (var i = lane.index; i < min(live - selected, params.capacity); i += WG) {
      rest[out_rest + i] = sorted_place(selected + i);
    }
  }

  if params.rest_kind == REST_PLACES && params.by_index == 0u {
    for (var rank = lane.index; rank < params.span; rank += WG) {
      let token = sorted_place(rank);
      if token < params.tokens {
        rest[out_rest + token] = select(NONE, rank, rank < selected);
      }
    }
  }

  if params.by_index != 0u || params.rest_kind == REST_BY_INDEX || params.rest_kind == REST_MASK {
    // Each invocation has a run of at most 32 tokens. A token is selected if it does not come after the last selected one.
    var last_key = KEY_PROTECTED;
    var last_end = 0u;
    if selected > 0u {
      last_key = sorted_key(selected - 1u);
      last_end = sorted_place(selected - 1u) + 1u;
    }
    let run = (params.tokens + WG - 1u) / WG;
    let first = scan_rank(lane) * run;
    let end = min(first + run, params.tokens);
    var chosen = 0u;
    for (var token = first; token < end; token++) {
      let key = key_of(row, token, live);
      if key > last_key || (key == last_key && token < last_end) {
        chosen |= 1u << (token - first);
      }
    }
    var before = scan_add(lane, countOneBits(chosen)).before;
    for (var token = first; token < end; token++) {
      let is_chosen = (chosen >> (token - first)) & 1u;
      if is_chosen == 1u {
        if params.by_index != 0u {
          indices[out + before] = token;
          values[out_values + before] = score_of(row, token);
        }
      } else if params.rest_kind == REST_BY_INDEX && token < live && token - before < params.capacity {
        rest[out_rest + token - before] = token;
      }
      if params.rest_kind == REST_MASK {
        rest[out_rest + token] = is_chosen;
      } else if params.rest_kind == REST_PLACES {
        rest[out_rest + token] = select(NONE, before, is_chosen == 1u);
      }
      before += is_chosen;
    }
  }
}
