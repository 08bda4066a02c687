// The first k of each row in the crate's total order, by index, or by value if k is small. Each invocation keeps the keys of at most 32
// tokens in registers. The last selected key is found bit by bit, from the highest bit. In each step, all invocations count the keys that
// are at least the trial key.
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
// rest:    [rows, capacity] u32 live tokens that are not selected, by index, then NONE; or [rows, tokens] u32, a mask of the selected, or
//          their places among `indices` and NONE for all others
//
// Cost: one dispatch; one read of the scores and a second one of those selected; one write of every output; 33 sums over the workgroup; by
// value, k^2 comparisons.

const NONE = 0xffffffffu;
const REST_BY_INDEX = 2u;
const REST_MASK = 3u;
const REST_PLACES = 4u;

// Keys and tokens of the selected, by index.
var<workgroup> selected_keys: array<u32, 256>;
var<workgroup> selected_tokens: array<u32, 256>;

fn score_of(row: u32, token: u32) -> f32 {
  return f32(scores[params.scores_base + row * params.tokens + min(token, params.tokens - 1u)]);
}

fn mark_of(row: u32, token: u32) -> u32 {
  if params.marked == 0u { return 0u; }
  return marks[params.marks_base + row * params.marks_stride + min(token, params.tokens - 1u)];
}

// Keys of the four tokens from this one on.
fn keys_of(row: u32, first: u32, live: u32) -> vec4<u32> {
  let tokens = vec4<u32>(first, first + 1u, first + 2u, first + 3u);
  let four = vec4<f32>(score_of(row, tokens.x), score_of(row, tokens.y), score_of(row, tokens.z), score_of(row, tokens.w));
  let mark = vec4<u32>(mark_of(row, tokens.x), mark_of(row, tokens.y), mark_of(row, tokens.z), mark_of(row, tokens.w));
  let bits = bitcast<vec4<u32>>(four);
  let sign = vec4<u32>(0x80000000u);
  let ordered = select(bits | sign, ~bits, bits > sign); // -0 equals +0
  let directed = select(ordered, ~ordered, vec4<bool>(params.smallest != 0u));
  let numbers = select(directed, vec4<u32>(KEY_NAN), (bits & ~sign) > vec4<u32>(0x7f800000u));
  let protects = select(numbers, vec4<u32>(KEY_PROTECTED), mark == vec4<u32>(1u));
  return select(protects, vec4<u32>(KEY_DEAD), (mark == vec4<u32>(2u)) | (tokens >= vec4<u32>(live)));
}

// The keys of an invocation's 32 tokens.
struct Keys {
  k0: vec4<u32>,
  k1: vec4<u32>,
  k2: vec4<u32>,
  k3: vec4<u32>,
  k4: vec4<u32>,
  k5: vec4<u32>,
  k6: vec4<u32>,
  k7: vec4<u32>,
}

fn ones_of(flags: vec4<bool>) -> vec4<u32> {
  return select(vec4<u32>(), vec4<u32>(1u), flags);
}

// The number of keys that are at least this one.
fn reaching(keys: Keys, key: u32) -> u32 {
  let least = vec4<u32>(key);
  let near = ones_of(keys.k0 >= least) + ones_of(keys.k1 >= least) + ones_of(keys.k2 >= least) + ones_of(keys.k3 >= least);
  let far = ones_of(keys.k4 >= least) + ones_of(keys.k5 >= least) + ones_of(keys.k6 >= least) + ones_of(keys.k7 >= least);
  return dot(near + far, vec4<u32>(1u));
}

fn bits_of(flags: vec4<bool>) -> u32 {
  return dot(ones_of(flags), vec4<u32>(1u, 2u, 4u, 8u));
}

// The tokens with a key above this one, as a bit mask.
fn above(keys: Keys, key: u32) -> u32 {
  let most = vec4<u32>(key);
  return bits_of(keys.k0 > most) | (bits_of(keys.k1 > most) << 4u)
    | (bits_of(keys.k2 > most) << 8u) | (bits_of(keys.k3 > most) << 12u)
    | (bits_of(keys.k4 > most) << 16u) | (bits_of(keys.k5 > most) << 20u)
    | (bits_of(keys.k6 > most) << 24u) | (bits_of(keys.k7 > most) << 28u);
}

// The number of selected tokens that go before the one with this key at this place.
fn rank_of(key: u32, place: u32, selected: u32) -> u32 {
  var ranks = vec4<u32>();
  for (var i = 0u; i < selected; i += 4u) {
    let others = vec4<u32>(selected_keys[i], selected_keys[i + 1u], selected_keys[i + 2u], selected_keys[i + 3u]);
    let lower = vec4<u32>(i, i + 1u, i + 2u, i + 3u) < vec4<u32>(place);
    ranks += ones_of((others > vec4<u32>(key)) | ((others == vec4<u32>(key)) & lower));
  }
  return dot(ranks, vec4<u32>(1u));
}

@compute @workgroup_size(WG)
fn main(grid: Grid, lane: Lane) {
  let row = linear_group(grid);
  if row >= params.rows { return; }
  let live = min(lengths[params.lengths_base + row / params.rows_per_length], params.tokens);
  let first = 32u * scan_rank(lane);
  let keys = Keys(
    keys_of(row, first, live),
    keys_of(row, first + 4u, live),
    keys_of(row, first + 8u, live),
    keys_of(row, first + 12u, live),
    keys_of(row, first + 16u, live),
    keys_of(row, first + 20u, live),
    keys_of(row, first + 24u, live),
    keys_of(row, first + 28u, live),
  );
  let candidates = reduce_add_u32(lane, reaching(keys, KEY_DEAD + 1u));
  let limit = min(counts[params.counts_base + row / params.rows_per_count], params.k);
  let selected = min(limit, candidates);

  // The largest key for which at least `selected` keys are as large.
  var last = 0u;
  for (var bit = 0x80000000u; bit > 0u; bit >>= 1u) {
    if reduce_add_u32(lane, reaching(keys, last | bit)) >= selected {
      last |= bit;
    }
  }
  // All keys above it are selected, and of the keys equal to it the first ones. Both counts are at most 32768.
  var chosen = above(keys, last);
  var equal = above(keys, last - min(last, 1u)) & ~chosen;
  let scan = scan_add(lane, (countOneBits(chosen) << 16u) | countOneBits(equal));
  let wanted = selected - (scan.total >> 16u);
  let equal_before = min(scan.before & 0xffffu, wanted);
  let before = (scan.before >> 16u) + equal_before;
  for (var i = equal_before; i < wanted && equal != 0u; i++) {
    let lowest = equal & (~equal + 1u);
    chosen |= lowest;
    equal ^= lowest;
  }

  let out = params.indices_base + row * params.k;
  let out_values = params.values_base + row * params.k;
  let out_rest = params.rest_base + row * params.capacity;
  for (var i = 0u; i < 32u && first + i < params.tokens; i++) {
    let token = first + i;
    let is_chosen = ((chosen >> i) & 1u) == 1u;
    let place = before + countOneBits(chosen & ((1u << i) - 1u));
    if is_chosen && params.by_index != 0u {
      indices[out + place] = token;
      values[out_values + place] = score_of(row, token);
    } else if is_chosen {
      selected_keys[place] = keys_of(row, token, live).x;
      selected_tokens[place] = token;
    }
    if params.rest_kind == REST_MASK {
      rest[out_rest + token] = select(0u, 1u, is_chosen);
    } else if params.rest_kind == REST_PLACES && (params.by_index != 0u || !is_chosen) {
      rest[out_rest + token] = select(NONE, place, is_chosen);
    } else if params.rest_kind == REST_BY_INDEX && !is_chosen && token < live && token - place < params.capacity {
      rest[out_rest + token - place] = token;
    }
  }
  if params.by_index == 0u {
    if lane.index < 4u && selected + lane.index < 256u {
      selected_keys[selected + lane.index] = KEY_DEAD; // padding, which is read with the last group of four
    }
    workgroupBarrier();
    for (var i = lane.index; i < selected; i += WG) {
      let token = selected_tokens[i];
      let rank = rank_of(selected_keys[i], i, selected);
      indices[out + rank] = token;
      values[out_values + rank] = score_of(row, token);
      if params.rest_kind == REST_PLACES {
        rest[out_rest + token] = rank;
      }
    }
  }

  for (var i = selected + lane.index; i < params.k; i += WG) {
    indices[out + i] = NONE;
    values[out_values + i] = 0.0;
  }
  if params.rest_kind == REST_BY_INDEX {
    for (var i = live - selected + lane.index; i < params.capacity; i += WG) {
      rest[out_rest + i] = NONE;
    }
  }
  if lane.index == 0u {
    kept[params.kept_base + row] = selected;
  }
}
