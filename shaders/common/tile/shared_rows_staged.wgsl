// `shared_rows.wgsl` for `tile_staged.wgsl`: sixteen invocations share eight rows of logits, with four keys each. The weights pass through the
// memory of the slices, which nobody needs at that time. Uses 4.3 KiB of workgroup memory besides.
const LANES = TILE_LANES;
const ROWS = 64u;
const KEYS = 64u;
const FAR = false;
// One number for each row of invocation t, four rows at a time: [t, 2].
var<workgroup> of_lanes: array<vec4<f32>, 256>;
// The reduced numbers: [8, 2].
var<workgroup> of_rows: array<vec4<f32>, 16>;

fn shared_row(lane: Lane) -> u32 {
  return tile_row(lane);
}

fn shared_key(lane: Lane) -> u32 {
  return tile_column(lane);
}

fn shared_channel(lane: Lane) -> u32 {
  return lane.index % 16u;
}

// Reduces one number per row over the invocations, to its sum or its maximum. There are no rows for `c` and `d`.
fn over_lanes(lane: Lane, a: vec4<f32>, b: vec4<f32>, c: vec4<f32>, d: vec4<f32>, sum: bool) -> mat4x4<f32> {
  of_lanes[lane.index * 2u] = a;
  of_lanes[lane.index * 2u + 1u] = b;
  workgroupBarrier(); // wait until all are there, and the previous results have been read
  let first = lane.index / 16u * 2u;
  let i = lane.index % 16u;
  if i < 2u {
    var all = of_lanes[first * 16u + i];
    for (var t = 1u; t < 16u; t++) {
      let one = of_lanes[first * 16u + t * 2u + i];
      all = select(max(all, one), all + one, sum);
    }
    of_rows[first + i] = all;
  }
  workgroupBarrier();
  return mat4x4<f32>(of_rows[first], of_rows[first + 1u], vec4<f32>(), vec4<f32>());
}

fn share_four(at: u32, rows: mat4x4<f32>) {
  slice[at] = rows[0];
  slice[at + 8u] = rows[1];
  slice[at + 16u] = rows[2];
  slice[at + 24u] = rows[3];
}

// Shares the weights of the tile's 32 keys from `key` on: [row, 8] of four keys each.
fn share_weights(lane: Lane, key: u32, a: mat4x4<f32>, b: mat4x4<f32>, c: mat4x4<f32>, d: mat4x4<f32>) {
  workgroupBarrier(); // wait until the slice, or the previous weights, have been read
  if shared_key(lane) / 32u == key / 32u {
    let at = shared_row(lane) * 8u + shared_key(lane) % 32u / 4u;
    share_four(at, a);
    share_four(at + 32u, b);
  }
  workgroupBarrier();
}

// Of the shared weights, those of the owner-th four keys, for four rows from the row-th of the eight on.
fn shared_weights(lane: Lane, row: u32, owner: u32, mine: mat4x4<f32>) -> mat4x4<f32> {
  let at = (shared_row(lane) + row) % ROWS * 8u + owner;
  return mat4x4<f32>(slice[at], slice[at + 8u], slice[at + 16u], slice[at + 24u]);
}

