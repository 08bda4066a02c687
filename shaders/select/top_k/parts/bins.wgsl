// Counts digits of a chunk's keys in workgroup memory, and stores the counts for `digits.wgsl`, which must come before.

// One or two copies of WORDS counters. On GPUs odd and even invocations have one each: many scores have few first digits, and all that add
// to one counter wait for each other.
override BIN_WORDS: u32 = 2048u;
var<workgroup> bins: array<atomic<u32>, BIN_WORDS>;

fn clear_bins(lane: Lane) {
  for (var i = lane.index; i < BIN_WORDS; i += WG) {
    atomicStore(&bins[i], 0u);
  }
  workgroupBarrier();
}

fn add_to_bin(lane: Lane, digit: u32, count: u32) {
  atomicAdd(&bins[((lane.index * WORDS) & (BIN_WORDS - 1u)) + (digit & (WORDS - 1u))], count << ((digit / WORDS) * 16u));
}

fn bin_word(word: u32) -> u32 {
  var sum = 0u;
  for (var i = word; i < BIN_WORDS; i += WORDS) {
    sum += atomicLoad(&bins[i]);
  }
  return sum;
}

// Stores how many keys of the chunk have at least each digit. Call from uniform control flow.
fn store_bins(lane: Lane, counts: u32) {
  workgroupBarrier();
  let first = 4u * (WG - 1u - scan_rank(lane)); // the highest digits come first
  var words = vec4<u32>(bin_word(first), bin_word(first + 1u), bin_word(first + 2u), bin_word(first + 3u));
  words.z += words.w;
  words.y += words.z;
  words.x += words.y;
  let scan = scan_add(lane, words.x);
  // Both halves at once; in the lower one all of the upper are added too.
  words += scan.before + (scan.total >> 16u);
  memory[counts + first] = words.x;
  memory[counts + first + 1u] = words.y;
  memory[counts + first + 2u] = words.z;
  memory[counts + first + 3u] = words.w;
}

// A run of equal digits, which an invocation adds to a counter at once.
const NO_DIGIT = BINS;
struct Run {
  digit: u32,
  length: u32,
}

// The run after a key with this digit, or with NO_DIGIT if the key does not count.
fn longer_run(lane: Lane, run: Run, digit: u32) -> Run {
  if digit == run.digit || digit == NO_DIGIT { return Run(run.digit, run.length + select(0u, 1u, digit == run.digit)); }
  end_run(lane, run);
  return Run(digit, 1u);
}

fn end_run(lane: Lane, run: Run) {
  if run.digit != NO_DIGIT {
    add_to_bin(lane, run.digit, run.length);
  }
}
