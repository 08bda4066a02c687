// The invocations that share a row: here the whole workgroup. In the twin, alone.wgsl, each invocation has a row of its own. So one shader
// serves long rows and many short rows. Both twins sum in the same order while a row has at most TEAM numbers.
// Call from uniform control flow.
const TEAM = 128u;
const TEAMS = 1u; // per workgroup
const GROUP = 128u; // invocations of a workgroup
var<workgroup> team_parts: array<vec2<f32>, TEAM>;
var<workgroup> team_word: u32;

fn team_row(grid: Grid, lane: Lane) -> u32 {
  return linear_group(grid);
}

// Which of the workgroup's teams this invocation is in, and its place there.
fn team_number(lane: Lane) -> u32 {
  return 0u;
}

fn team_lane(lane: Lane) -> u32 {
  return lane.index;
}

// Makes the team's writes to workgroup memory and to storage visible to the whole team.
fn team_barrier() {
  workgroupBarrier();
}

fn team_storage_barrier() {
  storageBarrier();
}

// The first invocation's value, in a form that the compiler knows to be uniform.
fn team_uniform(lane: Lane, value: u32) -> u32 {
  if lane.index == 0u {
    team_word = value;
  }
  return workgroupUniformLoad(&team_word);
}

// Two sums over the team, in the team's order.
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
  workgroupBarrier(); // the next call writes the array again
  return total;
}
