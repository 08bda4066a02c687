// Last pass of the radix select: lists what is selected, and what is not, in ascending index. All keys greater than the last selected key
// are selected. Of the keys equal to it, those with the lowest indices are.
//
// keys:       [rows, tokens] u32
// scores:     [rows, tokens] elem
// state:      [rows, 12] u32: live tokens, unused, number of selected tokens, ..., last selected key, number of selected keys equal to it
// tallies:    [rows, chunks, 2] u32: keys greater than the last selected key, and keys equal to it
// indices:    [rows, k] u32, NONE after the kept ones
// values:     [rows, k] f32, 0 after the kept ones; if asked for
// complement: [rows, capacity] u32, then NONE; if asked for
// each:       [rows, tokens] u32, a mask of the selected, or their places among `indices` and NONE for all others; if asked for
//
// Cost: two reads of the keys, one of the tallies of earlier chunks, one write of each output.

const NONE = 0xffffffffu;
const EACH_MASK = 1u;
const EACH_PLACES = 2u;

@compute @workgroup_size(WG)
fn main(grid: Grid, lane: Lane) {
  let id = linear_group(grid);
  if id >= params.groups { return; }
  let row = id / params.chunks;
  let chunk = id % params.chunks;
  let live = state[params.state_base + row * 12u];
  let selected = state[params.state_base + row * 12u + 2u];
  let last_key = state[params.state_base + row * 12u + 10u];
  let wanted = state[params.state_base + row * 12u + 11u];

  var greater = 0u;
  var equal = 0u;
  for (var i = lane.index; i < chunk; i += WG) {
    greater += tallies[params.tallies_base + 2u * (row * params.chunks + i)];
    equal += tallies[params.tallies_base + 2u * (row * params.chunks + i) + 1u];
  }
  greater = reduce_add_u32(lane, greater);
  equal = reduce_add_u32(lane, equal);

  // Each invocation has a run of tokens. Both counts of a chunk are at most 32768.
  let row_keys = params.keys_base + row * params.tokens;
  let begin = chunk * params.chunk;
  let run = params.chunk / WG;
  let first = begin + scan_rank(lane) * run;
  let end = min(first + run, params.tokens);
  var both = 0u;
  for (var token = first; token < end; token++) {
    let key = keys[row_keys + token];
    both += select(0u, 65536u, key > last_key) + select(0u, 1u, key == last_key);
  }
  let before = scan_add(lane, both).before;
  greater += before >> 16u;
  equal += before & 0xffffu;

  let out = params.indices_base + row * params.k;
  let out_values = params.values_base + row * params.k;
  let out_complement = params.complement_base + row * params.capacity;
  for (var token = first; token < end; token++) {
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

  // Each chunk also fills its own range of places after the last entry.
  for (var i = begin + lane.index; i < min(begin + params.chunk, params.tokens); i += WG) {
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
