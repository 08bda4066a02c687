// The running sum of every row.
//
//   sums[r, j] = x[r, 0] + .. + x[r, j]        0 after the live numbers
//
// x:       [R, N] f32
// lengths: [R] u32, live numbers of a row
// sums:    [R, N] f32
//
// `lanes` invocations share a row, a power of two up to 256, and a workgroup has 256 / lanes rows. They walk along the row in chunks. An invocation
// sums 16 neighbours; its sum is added to those of the invocations before it among 16, to those of the sixteens before it, and to those of
// the chunks before. Nothing is subtracted, so that a NaN or an infinity reaches no sum before it.
//
// Cost: two reads (one from cache) and one write of each number, two barriers for each chunk and one between two.

const RUN = 16u; // numbers of an invocation in a chunk
const BLOCK = 16u; // invocations whose sums are added one by one
var<workgroup> of_lanes: array<f32, 256>;
var<workgroup> of_blocks: array<f32, 16>;

@compute @workgroup_size(256)
fn main(grid: Grid, lane: Lane) {
  let rows_here = 256u / params.lanes;
  let first_row = linear_group(grid) * rows_here;
  if first_row >= params.rows { return; }
  let in_row = lane.index % params.lanes;
  let in_block = in_row % BLOCK;
  let row = first_row + lane.index / params.lanes;
  let block = lane.index / BLOCK;
  let first_block = (lane.index - in_row) / BLOCK;
  var live = 0u;
  if row < params.rows { live = min(lengths[params.lengths_base + row], params.tokens); }
  let begin = row * params.tokens;

  var before_chunk = 0.0;
  for (var chunk = 0u; chunk < params.tokens; chunk += RUN * params.lanes) {
    let first = chunk + in_row * RUN;
    let end = min(first + RUN, live);
    var sum = 0.0;
    for (var token = first; token < end; token++) {
      sum += x[params.x_base + begin + token];
    }
    of_lanes[lane.index] = sum;
    workgroupBarrier();
    var before = 0.0;
    for (var i = lane.index - in_block; i < lane.index; i++) {
      before += of_lanes[i];
    }
    if in_block == min(params.lanes, BLOCK) - 1u && params.lanes >= BLOCK {
      of_blocks[block] = before + sum;
    }
    workgroupBarrier();
    // Rows of fewer than 16 invocations have one chunk and no blocks before.
    var before_block = before_chunk;
    if params.lanes >= BLOCK {
      for (var i = first_block; i < block; i++) {
        before_block += of_blocks[i];
      }
      for (var i = first_block; i < first_block + params.lanes / BLOCK; i++) {
        before_chunk += of_blocks[i];
      }
    }
    before += before_block;
    var run = 0.0;
    for (var token = first; token < end; token++) {
      run += x[params.x_base + begin + token];
      sums[params.sums_base + begin + token] = before + run;
    }
    let last = select(0u, min(first + RUN, params.tokens), row < params.rows);
    for (var token = max(first, live); token < last; token++) {
      sums[params.sums_base + begin + token] = 0.0;
    }
    workgroupBarrier(); // before the sums of the next chunk
  }
}
