// The second and third pass of the radix select over long rows. Each finds the digit that the pass before has counted, and counts the next
// digit of the keys that begin with the digits found so far. Every workgroup finds the digit by itself; that of a row's first chunk stores
// it.
//
// The second pass also lists, chunk by chunk and in ascending index, the tokens whose first digit is not below the one found: what is
// selected is among them, and most tokens of a long row are not. Later passes look at these alone. If they are more than half of a chunk,
// nothing is listed, and later passes look at the whole chunk.
//
// Where all chunks are one workgroup's, both passes are one dispatch, in two turns.
//
// keys:   [rows, tokens] u32, 0 for tokens that are never selected
// memory: see parts/digits.wgsl
// list:   [rows, tokens] u32, tokens of each chunk at its place
// kept:   [rows] u32
//
// Cost: the second pass reads all keys, and those that it lists twice; the third reads the listed ones.

@compute @workgroup_size(WG)
fn main(grid: Grid, lane: Lane) {
  let id = linear_group(grid);
  if id >= params.groups { return; }
  let row = id / params.chunks;
  let chunk = id % params.chunks;
  let state = row_memory(row);
  let listed_at = state + LISTED + chunk;
  let row_keys = params.keys_base + row * params.tokens;
  let row_list = params.list_base + row * params.tokens;
  let begin = chunk * params.chunk;
  let end = min(begin + params.chunk, params.tokens);

  for (var level = params.level; level < params.end_level; level++) {
    clear_bins(lane);
    var run = Run(NO_DIGIT, 0u);
    if level == 0u {
      let found = find_digit(lane, row, 0u, memory[state + WANTED]);
      if chunk == 0u && lane.index == 0u {
        kept[params.kept_base + row] = found.wanted;
        memory[state + SELECTED] = found.wanted;
        memory[state + FOUND] = found.digit;
        memory[state + FOUND + 1u] = found.wanted - found.before;
      }
      // Each invocation has a run of tokens.
      let tokens_each = params.chunk / WG;
      let first = begin + scan_rank(lane) * tokens_each;
      let last = min(first + tokens_each, end);
      var listed = 0u;
      for (var token = first; token < last; token++) {
        let key = keys[row_keys + token];
        let high = key >> 21u;
        if high < found.digit { continue; }
        listed++;
        run = longer_run(lane, run, select(NO_DIGIT, (key >> 10u) & 2047u, high == found.digit && key != KEY_DEAD));
      }
      let scan = scan_add(lane, listed);
      let is_dense = 2u * scan.total > end - begin;
      if lane.index == 0u {
        memory[listed_at] = select(scan.total, ALL, is_dense);
      }
      if listed > 0u && !is_dense {
        var at = row_list + begin + scan.before;
        for (var token = first; token < last; token++) {
          if (keys[row_keys + token] >> 21u) >= found.digit {
            list[at] = token;
            at++;
          }
        }
      }
    } else {
      let found = find_digit(lane, row, 1u, memory[state + FOUND + 1u]);
      let prefix = (memory[state + FOUND] << 11u) | found.digit;
      if chunk == 0u && lane.index == 0u {
        memory[state + FOUND + 2u] = prefix;
        memory[state + FOUND + 3u] = found.wanted - found.before;
      }
      let listed = memory[listed_at];
      let entries = select(listed, end - begin, listed == ALL);
      for (var entry = lane.index; entry < entries; entry += WG) {
        var token = begin + entry;
        if listed != ALL {
          token = list[row_list + token];
        }
        let key = keys[row_keys + token];
        run = longer_run(lane, run, select(NO_DIGIT, key & 1023u, (key >> 10u) == prefix && key != KEY_DEAD));
      }
    }
    end_run(lane, run);
    store_bins(lane, counts_at(row, chunk, level + 1u));
    storageBarrier(); // the next turn reads what this workgroup has stored
    workgroupBarrier();
  }
}
