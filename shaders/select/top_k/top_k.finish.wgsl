// Last pass of a long sort: writes the outputs by rank.
//
// pairs:      [rows, entries, 2] u32: key and index, sorted; all tokens of the row, or only the selected
// scores:     [rows, tokens] elem
// memory:     [rows, stride] u32: live tokens, number of wanted tokens, and more
// indices:    [rows, k] u32, NONE after the kept ones; if asked for
// values:     [rows, k] f32, 0 after the kept ones; if asked for
// kept:       [rows] u32
// complement: [rows, capacity] u32 live tokens that are not selected, then NONE; if asked for
// each:       [rows, tokens] u32, for the sorted tokens: a mask of the selected, or their places among `indices` and NONE for the others;
//             if asked for
//
// Cost: one read of the pairs, one write of each output.

const NONE = 0xffffffffu;
const EACH_PLACES = 2u;
const CHUNK = 2048u;
var<workgroup> candidates: u32;

@compute @workgroup_size(256)
fn main(grid: Grid, lane: Lane) {
  let id = linear_group(grid);
  if id >= params.groups { return; }
  let row = id / params.chunks;
  let begin = (id % params.chunks) * CHUNK;
  let row_pairs = params.pairs_base + 2u * row * params.entries;
  if lane.index == 0u {
    // Candidates have keys above 0 and come first.
    var low = 0u;
    var high = params.entries;
    while low < high {
      let middle = low + (high - low) / 2u;
      if pairs[row_pairs + 2u * middle] > 0u {
        low = middle + 1u;
      } else {
        high = middle;
      }
    }
    candidates = low;
  }
  workgroupBarrier();
  let live = memory[params.memory_base + row * params.stride];
  let selected = min(memory[params.memory_base + row * params.stride + 1u], candidates);
  if begin == 0u && lane.index == 0u {
    kept[params.kept_base + row] = selected;
  }
  for (var rank = begin + lane.index; rank < begin + CHUNK; rank += 256u) {
    if params.with_indices != 0u && rank < params.k {
      var token = NONE;
      var value = 0.0;
      if rank < selected {
        token = pairs[row_pairs + 2u * rank + 1u];
        value = f32(scores[params.scores_base + row * params.tokens + token]);
      }
      indices[params.indices_base + row * params.k + rank] = token;
      values[params.values_base + row * params.k + rank] = value;
    }
    if params.with_complement != 0u && rank < params.capacity {
      var token = NONE;
      if rank < live - selected {
        token = pairs[row_pairs + 2u * (selected + rank) + 1u];
      }
      complement[params.complement_base + row * params.capacity + rank] = token;
    }
    if params.each_kind != 0u && rank < params.entries {
      let token = pairs[row_pairs + 2u * rank + 1u];
      let is_selected = rank < selected;
      let value = select(select(0u, 1u, is_selected), select(NONE, rank, is_selected), params.each_kind == EACH_PLACES);
      if token < params.tokens {
        each[params.each_base + row * params.tokens + token] = value;
      }
    }
  }
}
