// The invocations that share a row: here all of a workgroup. In its twin, alone.wgsl, each has a row for itself: one text serves many short rows
// as well as long ones, and sums have the same order in both while a row has at most TEAM numbers.
// To be called from uniform control flow.
const TEAM = 128u;
const TEAMS = 1u; // of a workgroup
const GROUP = 128u; // its invocations
var<workgroup> team_parts: array<vec2<f32>, TEAM>;
var<workgroup> team_word: u32;

fn team_row(lane: Lane, group: vec3<u32>, groups: vec3<u32>) -> u32 {
  return linear_group(group, groups);
}

// Which of the workgroup's teams this invocation is in, and where in it.
fn team_number(lane: Lane) -> u32 {
  return 0u;
}

fn team_lane(lane: Lane) -> u32 {
  return lane.index;
}

// What the team wrote to workgroup memory, and to storage, is there for all of it.
fn team_barrier() {
  workgroupBarrier();
}

fn team_storage_barrier() {
  storageBarrier();
}

// The first invocation's value, in a way that a compiler knows to be the same for all.
fn team_uniform(lane: Lane, value: u32) -> u32 {
  if lane.index == 0u {
    team_word = value;
  }
  return workgroupUniformLoad(&team_word);
}

// Two sums over the team, in its order.
fn team_add(lane: Lane, values: vec2<f32>) -> vec2<f32> {
  team_parts[lane.index] = values;
  workgroupBarrier();
  if lane.index == 0u {
    var sums = vec2<f32>();
    for (var i = 0u; i < TEAM; i++) {
      sums += team_parts[i];
    }
    team_parts[0] = sums;
  }
  workgroupBarrier();
  let total = team_parts[0];
  workgroupBarrier(); // the array is written again by the next call
  return total;
}
