// What the invocations that share rows of a tile of logits tell each other: sixteen invocations have the same rows, and four keys each, as
// `tile.wgsl` makes them. Uses 4.3 KiB of workgroup memory, and that of the weights.
// `shared_rows_portable.wgsl` or `shared_rows_staged.wgsl` comes before, with the memory of the weights: `keep_weights` and `kept_weights`.
const LANES = TILE_LANES;
const ROWS = 64u;
const KEYS = 64u;
const FAR = false;
const QUADS = TILE_ROWS / 4u; // an invocation's rows, four at a time
// One number for each row of invocation t: [t, QUADS].
var<workgroup> of_lanes: array<vec4<f32>, 256>;
// The reduced numbers: [64 / TILE_ROWS, QUADS].
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

// Reduces one number per row over the invocations, to its sum or its maximum. Only tall tiles have the rows of `c` and `d`.
fn over_lanes(lane: Lane, a: vec4<f32>, b: vec4<f32>, c: vec4<f32>, d: vec4<f32>, sum: bool) -> mat4x4<f32> {
  let mine = lane.index * QUADS;
  of_lanes[mine] = a;
  of_lanes[mine + 1u] = b;
  if TALL {
    of_lanes[mine + 2u] = c;
    of_lanes[mine + 3u] = d;
  }
  workgroupBarrier(); // wait until all are there, and the previous results have been read
  let first = lane.index / 16u * QUADS;
  let i = lane.index % 16u;
  if i < QUADS {
    var all = of_lanes[first * 16u + i];
    for (var t = 1u; t < 16u; t++) {
      let one = of_lanes[first * 16u + t * QUADS + i];
      all = select(max(all, one), all + one, sum);
    }
    of_rows[first + i] = all;
  }
  workgroupBarrier();
  if TALL { return mat4x4<f32>(of_rows[first], of_rows[first + 1u], of_rows[first + 2u], of_rows[first + 3u]); }
  return mat4x4<f32>(of_rows[first], of_rows[first + 1u], vec4<f32>(), vec4<f32>());
}

fn share_four(at: u32, rows: mat4x4<f32>) {
  keep_weights(at, rows[0]);
  keep_weights(at + 8u, rows[1]);
  keep_weights(at + 16u, rows[2]);
  keep_weights(at + 24u, rows[3]);
}

// Shares the weights of the tile's 32 keys from `key` on: [row, 8] of four keys each.
fn share_weights(lane: Lane, key: u32, a: mat4x4<f32>, b: mat4x4<f32>, c: mat4x4<f32>, d: mat4x4<f32>) {
  workgroupBarrier(); // wait until the previous ones, or what else was kept in their place, have been read
  if shared_key(lane) / 32u == key / 32u {
    let at = shared_row(lane) * 8u + shared_key(lane) % 32u / 4u;
    share_four(at, a);
    share_four(at + 32u, b);
    if TALL {
      share_four(at + 64u, c);
      share_four(at + 96u, d);
    }
  }
  workgroupBarrier();
}

// Of the shared weights, those of the owner-th four keys, for four rows from the row-th of the invocation's on.
fn shared_weights(lane: Lane, row: u32, owner: u32, mine: mat4x4<f32>) -> mat4x4<f32> {
  let at = (shared_row(lane) + row) % ROWS * 8u + owner;
  return mat4x4<f32>(kept_weights(at), kept_weights(at + 8u), kept_weights(at + 16u), kept_weights(at + 24u));
}

