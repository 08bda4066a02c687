// Last pass of the radix select: finds the last digit, and lists what is selected, and what is not, in ascending index. All keys greater
// than the last selected key are selected. Of the keys equal to it, those with the lowest indices are.
//
// keys:       [rows, tokens] u32
// scores:     [rows, tokens] elem
// memory:     see parts/digits.wgsl
// list:       [rows, tokens] u32, tokens of each chunk at its place; if only the selected are asked for
// indices:    [rows, k] u32, NONE after the kept ones
// values:     [rows, k] f32, 0 after the kept ones; if asked for
// complement: [rows, capacity] u32, then NONE; if asked for
// each:       [rows, tokens] u32, a mask of the selected, or their places among `indices` and NONE for all others; if asked for
//
// Cost: two reads of the keys, of the listed ones alone if only the selected are asked for; four counts of each earlier chunk; one write of
// each output.

const NONE = 0xffffffffu;
const EACH_MASK = 1u;
const EACH_PLACES = 2u;

// The token of a chunk's entry.
fn token_of(row: u32, begin: u32, entry: u32, is_listed: bool) -> u32 {
  if is_listed { return list[params.list_base + row * params.tokens + begin + entry]; }
  return begin + entry;
}

@compute @workgroup_size(WG)
fn main(grid: Grid, lane: Lane) {
  let id = linear_group(grid);
  if id >= params.groups { return; }
  let row = id / params.chunks;
  let chunk = id % params.chunks;
  let state = row_memory(row);
  let found = find_digit(lane, row, 2u, memory[state + FOUND + 3u]);
  let live = memory[state + LIVE];
  let selected = memory[state + SELECTED];
  let prefix = memory[state + FOUND + 2u];
  let last_digit = min(found.digit, 1023u);
  let last_key = (prefix << 10u) | last_digit;
  let wanted = found.wanted - found.before;

  var greater = 0u;
  var equal = 0u;
  for (var i = lane.index; i < chunk; i += WG) {
    let higher = count_of(counts_at(row, i, 2u), last_digit + 1u);
    greater += count_of(counts_at(row, i, 0u), (prefix >> 11u) + 1u) + count_of(counts_at(row, i, 1u), (prefix & 2047u) + 1u) + higher;
    equal += count_of(counts_at(row, i, 2u), last_digit) - higher;
  }
  greater = reduce_add_u32(lane, greater);
  equal = reduce_add_u32(lane, equal);

  // Each invocation has a run of entries. Both counts of a chunk are at most 32768.
  let row_keys = params.keys_base + row * params.tokens;
  let begin = chunk * params.chunk;
  let end = min(begin + params.chunk, params.tokens);
  let listed = memory[state + LISTED + chunk];
  let is_listed = params.only_selected != 0u && listed != ALL;
  let entries = select(end - begin, listed, is_listed);
  let run = (entries + WG - 1u) / WG;
  let first = scan_rank(lane) * run;
  let last = min(first + run, entries);
  var both = 0u;
  for (var entry = first; entry < last; entry++) {
    let key = keys[row_keys + token_of(row, begin, entry, is_listed)];
    both += select(0u, 65536u, key > last_key) + select(0u, 1u, key == last_key);
  }
  let before = scan_add(lane, both).before;
  greater += before >> 16u;
  equal += before & 0xffffu;

  let out = params.indices_base + row * params.k;
  let out_values = params.values_base + row * params.k;
  let out_complement = params.complement_base + row * params.capacity;
  if params.only_selected == 0u || both > 0u {
    for (var entry = first; entry < last; entry++) {
      let token = token_of(row, begin, entry, is_listed);
      let key = keys[row_keys + token];
      let place = greater + min(equal, wanted); // the number of selected tokens before this one
      let is_selected = key > last_key || (key == last_key && equal < wanted);
      if is_selected {
        indices[out + place] = token;
        if params.with_values != 0u {
          values[out_values + place] = f32(scores[params.scores_base + row * params.tokens + token]);
        }
      } else if params.with_complement != 0u && token < live && token - place < params.capacity {
        complement[out_complement + token - place] = token;
      }
      if params.each_kind == EACH_MASK {
        each[params.each_base + row * params.tokens + token] = select(0u, 1u, is_selected);
      } else if params.each_kind == EACH_PLACES {
        each[params.each_base + row * params.tokens + token] = select(NONE, place, is_selected);
      }
      greater += select(0u, 1u, key > last_key);
      equal += select(0u, 1u, key == last_key);
    }
  }

  // Each chunk also fills its own range of places after the last entry.
  let filled = max(params.k, params.capacity * params.with_complement);
  for (var i = begin + lane.index; i < min(end, filled); i += WG) {
    if i >= selected && i < params.k {
      indices[out + i] = NONE;
      if params.with_values != 0u {
        values[out_values + i] = 0.0;
      }
    }
    if params.with_complement != 0u && i >= live - selected && i < params.capacity {
      complement[out_complement + i] = NONE;
    }
  }
}
