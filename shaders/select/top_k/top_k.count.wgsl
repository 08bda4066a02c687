// The first k of each row in the crate's total order, for rows of at most 64 tokens. Each invocation takes a token and counts the tokens
// that go before it; this is the token's rank. A workgroup has as many whole rows as fit.
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
// Cost: one dispatch; one read of the scores, one write of every output; tokens^2 comparisons, two barriers.

const NONE = 0xffffffffu;
const REST_BY_RANK = 1u;
const REST_BY_INDEX = 2u;
const REST_MASK = 3u;
const REST_PLACES = 4u;

var<workgroup> keys: array<u32, 256>;
var<workgroup> ranks: array<u32, 256>;

@compute @workgroup_size(256)
fn main(grid: Grid, lane: Lane) {
  let rows_here = 256u / params.span;
  let row_here = lane.index / params.span;
  let first = row_here * params.span; // the row's start in workgroup memory, where a row takes a multiple of 4
  let token = lane.index - first;
  let row = linear_group(grid) * rows_here + row_here;
  let has_row = row_here < rows_here && row < params.rows;

  var live = 0u;
  var score = 0.0;
  var key = KEY_DEAD;
  if has_row {
    live = min(lengths[params.lengths_base + row / params.rows_per_length], params.tokens);
    if token < live {
      score = f32(scores[params.scores_base + row * params.tokens + token]);
      key = order_key(score);
      if params.smallest != 0u { key = order_key_smallest(score); }
      if params.marked != 0u {
        let mark = marks[params.marks_base + row * params.marks_stride + token];
        if mark == 1u { key = KEY_PROTECTED; }
        if mark == 2u { key = KEY_DEAD; }
      }
    }
  }
  keys[lane.index] = key;
  workgroupBarrier();

  var rank = 0u;
  var candidates = 0u;
  if has_row {
    var ranks_by_4 = vec4<u32>(0u);
    var candidates_by_4 = vec4<u32>(0u);
    for (var i = 0u; i < params.span; i += 4u) {
      let at = first + i;
      let others = vec4<u32>(keys[at], keys[at + 1u], keys[at + 2u], keys[at + 3u]);
      let lower = vec4<u32>(i, i + 1u, i + 2u, i + 3u) < vec4<u32>(token);
      ranks_by_4 += vec4<u32>((others > vec4<u32>(key)) | ((others == vec4<u32>(key)) & lower));
      candidates_by_4 += vec4<u32>(others > vec4<u32>(KEY_DEAD));
    }
    let ones = vec4<u32>(1u);
    rank = dot(ranks_by_4, ones);
    candidates = dot(candidates_by_4, ones);
  }
  ranks[lane.index] = rank;
  workgroupBarrier();
  if !has_row { return; }

  let limit = min(counts[params.counts_base + row / params.rows_per_count], params.k);
  let selected = min(limit, candidates);
  if token == 0u {
    kept[params.kept_base + row] = selected;
  }
  if token >= params.tokens { return; }
  let is_selected = rank < selected;
  var before = 0u; // the number of selected tokens with a lower index
  if params.by_index != 0u || params.rest_kind == REST_BY_INDEX {
    for (var i = 0u; i < token; i++) {
      before += select(0u, 1u, ranks[first + i] < selected);
    }
  }

  let out = row * params.k;
  let place = select(rank, before, params.by_index != 0u);
  if is_selected {
    indices[params.indices_base + out + place] = token;
    values[params.values_base + out + place] = score;
  }
  if token >= selected && token < params.k {
    indices[params.indices_base + out + token] = NONE;
    values[params.values_base + out + token] = 0.0;
  }
  let out_rest = params.rest_base + row * params.capacity;
  if params.rest_kind == REST_MASK {
    rest[out_rest + token] = select(0u, 1u, is_selected);
  } else if params.rest_kind == REST_PLACES {
    rest[out_rest + token] = select(NONE, place, is_selected);
  } else if params.rest_kind != 0u {
    // By rank, the excluded come after the candidates and before the dead, because their indices are lower.
    let other_place = select(rank - selected, token - before, params.rest_kind == REST_BY_INDEX);
    if !is_selected && token < live && other_place < params.capacity {
      rest[out_rest + other_place] = token;
    }
    if token >= live - selected && token < params.capacity {
      rest[out_rest + token] = NONE;
    }
  }
}
