// Sixteen invocations that have 16 rows of logits in common, four keys each: what they tell each other goes through workgroup memory.
// A workgroup has four times 16 rows.
const LANES = 64u;
const ROWS = 64u;
const KEYS = 64u;
const FAR = false;
// Invocation t and its rows, four at a time: [t, 4]; then the sixteen rows and what came of them: [rows, 4].
var<workgroup> of_lanes: array<vec4<f32>, 256>;
var<workgroup> of_rows: array<vec4<f32>, 16>;
// Row t and 32 keys, four at a time: [t, 8].
var<workgroup> weights: array<vec4<f32>, 512>;

fn shared_row(lane: Lane) -> u32 {
  return lane.index / 16u * 16u;
}

fn shared_key(lane: Lane) -> u32 {
  return lane.index % 16u * 4u;
}

fn shared_channel(lane: Lane) -> u32 {
  return lane.index % 16u;
}

// Of one number for each row, the sum or the maximum over the invocations.
fn over_lanes(lane: Lane, mine: mat4x4<f32>, sum: bool) -> mat4x4<f32> {
  for (var i = 0u; i < 4u; i++) {
    of_lanes[lane.index * 4u + i] = mine[i];
  }
  workgroupBarrier(); // all are there, and the last rows have been read
  let rows = lane.index / 16u;
  let i = lane.index % 4u;
  if lane.index % 16u < 4u {
    var all = of_lanes[rows * 64u + i];
    for (var t = 1u; t < 16u; t++) {
      let one = of_lanes[rows * 64u + t * 4u + i];
      all = select(max(all, one), all + one, sum);
    }
    of_rows[rows * 4u + i] = all;
  }
  workgroupBarrier();
  return mat4x4<f32>(of_rows[rows * 4u], of_rows[rows * 4u + 1u], of_rows[rows * 4u + 2u], of_rows[rows * 4u + 3u]);
}

// Shows the weights of 32 keys from `key` of the tile on.
fn share_weights(lane: Lane, key: u32, a: mat4x4<f32>, b: mat4x4<f32>, c: mat4x4<f32>, d: mat4x4<f32>) {
  workgroupBarrier(); // the last ones have been read
  if shared_key(lane) / 32u == key / 32u {
    let at = shared_row(lane) * 8u + shared_key(lane) % 32u / 4u;
    for (var i = 0u; i < 4u; i++) {
      weights[at + i * 8u] = a[i];
      weights[at + 32u + i * 8u] = b[i];
      weights[at + 64u + i * 8u] = c[i];
      weights[at + 96u + i * 8u] = d[i];
    }
  }
  workgroupBarrier();
}

// Of those, four rows from `row` of the sixteen on and the owner-th four keys.
fn shared_weights(lane: Lane, row: u32, owner: u32, mine: mat4x4<f32>) -> mat4x4<f32> {
  let at = (shared_row(lane) + row) * 8u + owner;
  return mat4x4<f32>(weights[at], weights[at + 8u], weights[at + 16u], weights[at + 24u]);
}

