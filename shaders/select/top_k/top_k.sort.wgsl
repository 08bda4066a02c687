// First pass of a long sort: one workgroup sorts each run of 2048 entries. Entries are in ascending index, so the place within a run breaks
// ties between equal keys.
//
// keys:    [rows, tokens] u32
// indices: [rows, entries] u32, the tokens to sort, then NONE; or all tokens
// pairs:   [rows, entries, 2] u32: key and index, keys descending within a run
//
// Cost: one read of each entry and its key, one write of each pair; 60 steps of a bitonic network.

const NONE = 0xffffffffu;

fn token_of(row: u32, entry: u32) -> u32 {
  if entry >= params.entries { return NONE; }
  if params.listed == 0u { return entry; }
  return indices[params.indices_base + row * params.entries + entry];
}

fn key_of(row: u32, entry: u32) -> u32 {
  let token = token_of(row, entry);
  if token >= params.tokens { return KEY_DEAD; }
  return keys[params.keys_base + row * params.tokens + token];
}

@compute @workgroup_size(128)
fn main(grid: Grid, lane: Lane) {
  let id = linear_group(grid);
  if id >= params.groups { return; }
  let row = id / params.runs;
  let begin = (id % params.runs) * 2u * PAIRS;
  for (var word = lane.index; word < params.span / 2u; word += 128u) {
    sort_keys[word] = vec2<u32>(key_of(row, begin + 2u * word), key_of(row, begin + 2u * word + 1u));
    sort_places[word] = (2u * word) | ((2u * word + 1u) << 16u);
  }
  sort_blocks(lane, 128u, params.span, params.span);
  for (var rank = lane.index; rank < min(params.span, params.entries - begin); rank += 128u) {
    let pair = params.pairs_base + 2u * (row * params.entries + begin + rank);
    pairs[pair] = sorted_key(rank);
    pairs[pair + 1u] = token_of(row, begin + sorted_place(rank));
  }
}
