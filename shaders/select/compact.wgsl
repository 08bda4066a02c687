// Prefix sum and compaction: lists the set flags of each row in ascending index, and gives the place of each in the list.
//
//   ranks[i] = the number of set flags in flags[0..i], if flags[i] is set; indices[ranks[i]] = i
//
// One workgroup per chunk. It adds the tallies of the row's other chunks and scans its own flags. Each invocation has a run of these flags.
//
// flags:   [rows, tokens] u32, anything but 0 is set
// lengths: [rows] u32, live tokens of a row
// tallies: [rows, chunks] u32, set flags of each chunk; not read if a row has one chunk
// indices: [rows, tokens] u32, NONE after the last
// counts:  [rows] u32
// ranks:   [rows, tokens] u32, NONE where the flag is not set
//
// Cost: two reads of the flags, one write of each output.

const NONE = 0xffffffffu;

fn is_set(row: u32, token: u32, live: u32) -> bool {
  return token < live && flags[params.flags_base + row * params.tokens + token] != 0u;
}

@compute @workgroup_size(WG)
fn main(grid: Grid, lane: Lane) {
  let id = linear_group(grid);
  if id >= params.groups { return; }
  let row = id / params.chunks;
  let chunk = id % params.chunks;
  let begin = chunk * params.chunk;
  let end = min(begin + params.chunk, params.tokens);
  let live = min(lengths[params.lengths_base + row], params.tokens);

  let run = params.chunk / WG;
  let first = begin + scan_rank(lane) * run;
  let last = min(first + run, params.tokens);
  var number = 0u;
  for (var token = first; token < last; token++) {
    number += select(0u, 1u, is_set(row, token, live));
  }
  let scan = scan_add(lane, number);
  var place = scan.before;
  var total = scan.total;
  if params.chunks > 1u {
    var before = 0u;
    var all = 0u;
    for (var i = lane.index; i < params.chunks; i += WG) {
      let tally = tallies[params.tallies_base + row * params.chunks + i];
      before += select(0u, tally, i < chunk);
      all += tally;
    }
    place += reduce_add_u32(lane, before);
    total = reduce_add_u32(lane, all);
  }

  for (var token = first; token < last; token++) {
    let keeps = is_set(row, token, live);
    if keeps {
      indices[params.indices_base + row * params.tokens + place] = token;
    }
    ranks[params.ranks_base + row * params.tokens + token] = select(NONE, place, keeps);
    place += select(0u, 1u, keeps);
  }
  // Each chunk also fills its own range of places with NONE after the last entry.
  for (var i = max(begin, total) + lane.index; i < end; i += WG) {
    indices[params.indices_base + row * params.tokens + i] = NONE;
  }
  if chunk == 0u && lane.index == 0u {
    counts[params.counts_base + row] = total;
  }
}
