// What the invocations that share rows of logits tell each other in `walk.wgsl`: sixteen invocations have the same 16 rows, and four keys
// each, as `tile.wgsl` makes them. A workgroup has four times 16 rows. Uses 12.3 KiB of workgroup memory.
const LANES = TILE_LANES;
const ROWS = 64u;
const KEYS = 64u;
const FAR = false;
// One number for each row of invocation t, four rows at a time: [t, 4].
var<workgroup> of_lanes: array<vec4<f32>, 256>;
// The reduced numbers: [4, 4].
var<workgroup> of_rows: array<vec4<f32>, 16>;
// The weights of row t and 32 keys, four at a time: [t, 8].
var<workgroup> weights: array<vec4<f32>, 512>;

fn shared_row(lane: Lane) -> u32 {
  return tile_row(lane);
}

fn shared_key(lane: Lane) -> u32 {
  return tile_column(lane);
}

fn shared_channel(lane: Lane) -> u32 {
  return lane.index % 16u;
}

// Reduces one number per row over the invocations, to its sum or its maximum.
fn over_lanes(lane: Lane, a: vec4<f32>, b: vec4<f32>, c: vec4<f32>, d: vec4<f32>, sum: bool) -> mat4x4<f32> {
  of_lanes[lane.index * 4u] = a;
  of_lanes[lane.index * 4u + 1u] = b;
  of_lanes[lane.index * 4u + 2u] = c;
  of_lanes[lane.index * 4u + 3u] = d;
  workgroupBarrier(); // wait until all are there, and the previous results have been read
  let first = lane.index / 16u * 4u;
  let i = lane.index % 16u;
  if i < 4u {
    var all = of_lanes[first * 16u + i];
    for (var t = 1u; t < 16u; t++) {
      let one = of_lanes[first * 16u + t * 4u + i];
      all = select(max(all, one), all + one, sum);
    }
    of_rows[first + i] = all;
  }
  workgroupBarrier();
  return mat4x4<f32>(of_rows[first], of_rows[first + 1u], of_rows[first + 2u], of_rows[first + 3u]);
}

fn share_four(at: u32, rows: mat4x4<f32>) {
  weights[at] = rows[0];
  weights[at + 8u] = rows[1];
  weights[at + 16u] = rows[2];
  weights[at + 24u] = rows[3];
}

// Shares the weights of the tile's 32 keys from `key` on.
fn share_weights(lane: Lane, key: u32, a: mat4x4<f32>, b: mat4x4<f32>, c: mat4x4<f32>, d: mat4x4<f32>) {
  workgroupBarrier(); // wait until the previous ones have been read
  if shared_key(lane) / 32u == key / 32u {
    let at = shared_row(lane) * 8u + shared_key(lane) % 32u / 4u;
    share_four(at, a);
    share_four(at + 32u, b);
    share_four(at + 64u, c);
    share_four(at + 96u, d);
  }
  workgroupBarrier();
}

// Of the shared weights, those of the owner-th four keys, for four rows from the row-th of the invocation's on.
fn shared_weights(lane: Lane, row: u32, owner: u32, mine: mat4x4<f32>) -> mat4x4<f32> {
  let at = (shared_row(lane) + row) * 8u + owner;
  return mat4x4<f32>(weights[at], weights[at + 8u], weights[at + 16u], weights[at + 24u]);
}

