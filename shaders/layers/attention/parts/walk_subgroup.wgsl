// `walk_portable.wgsl` for subgroups of exactly eight invocations. They share 16 rows of logits, with four keys each, as `tile_subgroup.wgsl`
// makes them. They exchange values by shuffles. A workgroup is one subgroup, so no barrier is needed.
const LANES = 8u;
const ROWS = 16u;
const KEYS = 32u;
const FAR = true;

fn shared_row(lane: Lane) -> u32 {
  return 0u;
}

fn shared_key(lane: Lane) -> u32 {
  return lane.in_subgroup * 4u;
}

fn shared_channel(lane: Lane) -> u32 {
  return lane.in_subgroup;
}

fn over_four(mine: vec4<f32>, sum: bool) -> vec4<f32> {
  let b = subgroupShuffleXor(mine, 1u);
  let two = select(max(mine, b), mine + b, sum);
  let c = subgroupShuffleXor(two, 2u);
  let four = select(max(two, c), two + c, sum);
  let d = subgroupShuffleXor(four, 4u);
  return select(max(four, d), four + d, sum);
}

// Reduces one number per row over the invocations, to its sum or its maximum.
fn over_lanes(lane: Lane, a: vec4<f32>, b: vec4<f32>, c: vec4<f32>, d: vec4<f32>, sum: bool) -> mat4x4<f32> {
  return mat4x4<f32>(over_four(a, sum), over_four(b, sum), over_four(c, sum), over_four(d, sum));
}

fn share_weights(lane: Lane, key: u32, a: mat4x4<f32>, b: mat4x4<f32>, c: mat4x4<f32>, d: mat4x4<f32>) {
}

// The owner-th invocation's weights of four rows. `mine` are this invocation's weights.
fn shared_weights(lane: Lane, row: u32, owner: u32, mine: mat4x4<f32>) -> mat4x4<f32> {
  return mat4x4<f32>(
    subgroupShuffle(mine[0], owner),
    subgroupShuffle(mine[1], owner),
    subgroupShuffle(mine[2], owner),
    subgroupShuffle(mine[3], owner),
  );
}

