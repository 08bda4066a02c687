// The digits of long rows' keys. A radix select goes through three of them: bits 31 to 21, 20 to 10, and 9 to 0. `bins.wgsl` counts them,
// and the functions here find the digit from the counts.
//
// memory: [rows, stride] u32: of a row eight words, see the functions below, then how many tokens each chunk lists; then for each chunk and
//         digit how many of its keys have at least this digit and all higher digits as found, in 1024 words: counts of the digits w and
//         w + 1024 in the lower and upper half of word w
//
// Nothing is added up over chunks in memory, so nothing has to be zero before the first pass. A count is at most 32768, the largest chunk.
// The including shader has WG = 256, the binding `memory`, and `chunks` and `stride` in its params.
const BINS = 2048u;
const WORDS = 1024u;
const FEW = 4u; // chunks
const ALL = 0xffffffffu; // in place of a number of listed tokens: the chunk lists none, and all of it is looked at

// Words of a row.
const LIVE = 0u; // live tokens
const WANTED = 1u; // how many are asked for
const SELECTED = 2u; // how many are selected
const FOUND = 3u; // the first digit; in the next words how many keys with it are selected, both digits, and how many with both
const LISTED = 8u; // how many tokens each chunk lists

var<workgroup> sums: array<u32, 256>;
var<workgroup> totals: array<u32, 16>;

fn row_memory(row: u32) -> u32 {
  return params.memory_base + row * params.stride;
}

// Where a chunk's counts of a digit begin; `level` is 0, 1 or 2.
fn counts_at(row: u32, chunk: u32, level: u32) -> u32 {
  return row_memory(row) + LISTED + params.chunks + (3u * chunk + level) * WORDS;
}

// How many of a chunk's keys have at least this digit.
fn count_of(counts: u32, digit: u32) -> u32 {
  if digit >= BINS { return 0u; }
  return (memory[counts + (digit & (WORDS - 1u))] >> ((digit / WORDS) * 16u)) & 0xffffu;
}

// The same without a branch around the load, so that several loads may be under way; 0 for what is no chunk.
fn count_of_any(row: u32, chunk: u32, level: u32, digit: u32) -> u32 {
  let words = memory[counts_at(row, min(chunk, params.chunks - 1u), level) + (digit & (WORDS - 1u))];
  return select(0u, (words >> (((digit / WORDS) & 1u) * 16u)) & 0xffffu, chunk < params.chunks && digit < BINS);
}

struct Digit {
  digit: u32,
  before: u32, // keys with a higher digit
  wanted: u32, // how many keys are wanted in all: no more than there are
}

// The largest digit at which at least `asked` keys of the row, those with higher digits included, are counted; if there are fewer keys, all
// are wanted, and if none is wanted, it is the highest digit. Call from uniform control flow.
fn find_digit(lane: Lane, row: u32, level: u32, asked: u32) -> Digit {
  var found = Digit();
  if params.chunks <= FEW {
    found = find_at_once(lane, row, level, asked);
  } else {
    found = find_in_rounds(lane, row, level, asked);
  }
  if found.wanted == 0u { return Digit(BINS - 1u, 0u, 0u); }
  return found;
}

// How many keys of all chunks have at least this digit.
fn count_of_all(row: u32, level: u32, digit: u32) -> u32 {
  var sum = 0u;
  for (var chunk = 0u; chunk < params.chunks; chunk++) {
    sum += count_of(counts_at(row, chunk, level), digit);
  }
  return sum;
}

// Looks at all digits.
fn find_at_once(lane: Lane, row: u32, level: u32, asked: u32) -> Digit {
  let wanted = min(asked, count_of_all(row, level, 0u));
  var reached = 0u;
  for (var word = lane.index; word < WORDS; word += WG) {
    var low = 0u;
    var high = 0u;
    for (var chunk = 0u; chunk < params.chunks; chunk++) {
      let both = memory[counts_at(row, chunk, level) + word];
      low += both & 0xffffu;
      high += both >> 16u;
    }
    reached += select(0u, 1u, low >= wanted) + select(0u, 1u, high >= wanted);
  }
  let digit = reduce_add_u32(lane, reached) - 1u;
  return Digit(digit, count_of_all(row, level, digit + 1u), wanted);
}

// Looks at 16 digits that lie far apart, at 16 between two of these, and at those left.
fn find_in_rounds(lane: Lane, row: u32, level: u32, asked: u32) -> Digit {
  var wanted = asked;
  var digit = 0u;
  var before = 0u;
  for (var round = 0u; round < 3u; round++) {
    let apart = 7u - min(4u * round, 7u); // 7, 3, 0
    let place = digit + ((lane.index % 16u) << apart);
    var sum = 0u;
    for (var chunk = lane.index / 16u; chunk < params.chunks; chunk += 64u) {
      let four = vec4<u32>(
        count_of_any(row, chunk, level, place),
        count_of_any(row, chunk + 16u, level, place),
        count_of_any(row, chunk + 32u, level, place),
        count_of_any(row, chunk + 48u, level, place),
      );
      sum += four.x + four.y + four.z + four.w;
    }
    sums[lane.index] = sum;
    workgroupBarrier();
    if lane.index < 16u {
      sum = 0u;
      for (var i = 0u; i < 16u; i++) {
        sum += sums[lane.index + 16u * i];
      }
      totals[lane.index] = sum;
    }
    workgroupBarrier();
    if round == 0u {
      wanted = min(wanted, totals[0]);
    }
    var reached = 0u;
    for (var i = 1u; i < 16u; i++) {
      reached += select(0u, 1u, totals[i] >= wanted);
    }
    before = totals[min(reached + 1u, 15u)];
    digit += reached << apart;
    workgroupBarrier(); // the totals are written again
  }
  return Digit(digit, before, wanted);
}
