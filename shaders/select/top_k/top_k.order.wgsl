// Last pass over long rows of which at most 2 * PAIRS tokens are selected: a workgroup sorts them and writes the outputs by rank. The
// selected tokens are listed in ascending index, so the place in the list breaks ties between equal keys.
//
// keys:     [rows, tokens] u32
// selected: [rows, k] u32, ascending, NONE after the last
// scores:   [rows, tokens] elem
// indices:  [rows, k] u32, by rank, NONE after the last
// values:   [rows, k] f32, 0 after the last
// each:     [rows, tokens] u32, for the selected: their ranks; if asked for
//
// Cost: one read of each selected token, its key and its score, one write of each output; a bitonic network.

const NONE = 0xffffffffu;

fn token_of(row: u32, entry: u32) -> u32 {
  if entry >= params.k { return NONE; }
  return selected[params.selected_base + row * params.k + entry];
}

fn key_of(row: u32, entry: u32) -> u32 {
  let token = token_of(row, entry);
  if token >= params.tokens { return KEY_DEAD; }
  return keys[params.keys_base + row * params.tokens + token];
}

@compute @workgroup_size(128)
fn main(grid: Grid, lane: Lane) {
  let row = linear_group(grid);
  if row >= params.rows { return; }
  for (var word = lane.index; word < params.span / 2u; word += 128u) {
    sort_keys[word] = vec2<u32>(key_of(row, 2u * word), key_of(row, 2u * word + 1u));
    sort_places[word] = (2u * word) | ((2u * word + 1u) << 16u);
  }
  sort_blocks(lane, 128u, params.span, params.span);
  for (var rank = lane.index; rank < params.k; rank += 128u) {
    let token = token_of(row, sorted_place(rank));
    var value = 0.0;
    if token < params.tokens {
      value = f32(scores[params.scores_base + row * params.tokens + token]);
      if params.with_places != 0u {
        each[params.each_base + row * params.tokens + token] = rank;
      }
    }
    indices[params.indices_base + row * params.k + rank] = token;
    values[params.values_base + row * params.k + rank] = value;
  }
}
