// Divides frames into windows, so that as many frames of places as possible say what the window's first one says.
//
//   a place is static in a window if it joins the frame before in each of the window's frames but the first
//   the windows maximise the sum of: static places of a window x frames of it but one
//
// joins:   [B, T, P] u32; not 0 where a place is like that of the frame before; the first frame's do not matter
// lengths: [B] u32; frames from it on are dead
// start:   [B, T] u32; the first frame of each frame's window; NONE for dead ones
// memory:  [B, P + 2 T] u32, scratch: frames for how long each place has joined; the largest sum up to each frame, and how many frames the
//          window has before it that gives that
//
// Frame by frame: the places are counted by the length of their runs, so that suffix sums are the static places of every window that ends
// here. Of windows with equal sums the shortest is taken. All is in whole numbers.
//
// Cost: T steps of a workgroup for each batch row, some thousands to a dispatch, and one that goes back from the last window; one read of
// the joins.

const LANES = 128u;
const EACH = 8u; // lengths of an invocation
const NONE = 0xffffffffu;

var<workgroup> alive: u32;
var<workgroup> number: array<atomic<u32>, 1024>; // places by the length of their run
var<workgroup> totals: array<u32, LANES>;
var<workgroup> best: atomic<u32>;
var<workgroup> shortest: atomic<u32>;

@compute @workgroup_size(LANES)
fn main(grid: Grid, lane: Lane) {
  let batch = linear_group(grid);
  if batch >= params.batch { return; }
  let runs = params.memory_base + batch * (params.places + 2u * params.frames);
  let sums = runs + params.places;
  let back = sums + params.frames;
  if lane.index == 0u {
    alive = min(lengths[params.lengths_base + batch], params.frames);
  }
  let live = workgroupUniformLoad(&alive);
  if params.first >= params.frames {
    let row = params.start_base + batch * params.frames;
    for (var frame = live + lane.index; frame < params.frames; frame += LANES) {
      start[row + frame] = NONE;
    }
    if lane.index == 0u {
      var end = live;
      for (var window = 0u; window < live; window++) {
        if end == 0u { break; }
        let first = end - 1u - min(memory[back + end - 1u], end - 1u);
        for (var frame = first; frame < end; frame++) {
          start[row + frame] = first;
        }
        end = first;
      }
    }
    return;
  }
  for (var frame = params.first; frame < min(params.last, live); frame++) {
    for (var length = lane.index; length < 1024u; length += LANES) {
      atomicStore(&number[length], 0u);
    }
    if lane.index == 0u {
      atomicStore(&best, 0u);
      atomicStore(&shortest, NONE);
    }
    workgroupBarrier(); // before places are counted
    let row = params.joins_base + (batch * params.frames + frame) * params.places;
    for (var place = lane.index; place < params.places; place += LANES) {
      var run = 0u;
      if frame > 0u && joins[row + place] != 0u {
        run = min(memory[runs + place] + 1u, params.longest - 1u);
      }
      memory[runs + place] = run;
      atomicAdd(&number[run], 1u);
    }
    workgroupBarrier(); // all are counted
    var own = 0u;
    for (var i = 0u; i < EACH; i++) {
      own += atomicLoad(&number[lane.index * EACH + i]);
    }
    totals[lane.index] = own;
    workgroupBarrier();
    for (var reach = 1u; reach < LANES; reach *= 2u) {
      let further = select(0u, totals[min(lane.index + reach, LANES - 1u)], lane.index + reach < LANES);
      workgroupBarrier(); // wait until all have read, before any writes
      totals[lane.index] += further;
      workgroupBarrier();
    }
    // Windows with so many frames before this one, from the longest of this invocation's on.
    var count = totals[lane.index] - own;
    var value = 0u;
    var length = NONE;
    for (var i = EACH; i > 0u; i--) {
      let before = lane.index * EACH + i - 1u;
      count += atomicLoad(&number[before]);
      if before <= frame && before < params.longest {
        var sum = count * before;
        if before < frame {
          sum += memory[sums + frame - before - 1u];
        }
        if length == NONE || sum >= value {
          value = sum;
          length = before;
        }
      }
    }
    atomicMax(&best, value);
    workgroupBarrier();
    if length != NONE && value == atomicLoad(&best) {
      atomicMin(&shortest, length);
    }
    workgroupBarrier();
    if lane.index == 0u {
      memory[sums + frame] = atomicLoad(&best);
      memory[back + frame] = atomicLoad(&shortest);
    }
    storageBarrier(); // before the next frame reads the sums
  }
}
