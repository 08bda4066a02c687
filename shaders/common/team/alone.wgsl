// A team of one: the functions of team.wgsl and reduce.wgsl for invocations that each have a row of their own. Nothing waits, so these may
// be called from any control flow.
const TEAM = 1u;
const TEAMS = 64u; // per workgroup
const GROUP = 64u; // invocations of a workgroup

fn team_row(grid: Grid, lane: Lane) -> u32 {
  return linear_group(grid) * GROUP + lane.index;
}

fn team_number(lane: Lane) -> u32 {
  return lane.index;
}

fn team_lane(lane: Lane) -> u32 {
  return 0u;
}

fn team_barrier() {}

fn team_storage_barrier() {}

fn team_uniform(lane: Lane, value: u32) -> u32 {
  return value;
}

fn team_add(lane: Lane, values: vec2<f32>) -> vec2<f32> {
  return values;
}

fn reduce_max(lane: Lane, value: f32) -> f32 {
  return value;
}

fn reduce_add_u32(lane: Lane, value: u32) -> u32 {
  return value;
}

fn scan_rank(lane: Lane) -> u32 {
  return 0u;
}

struct Scan {
  before: u32,
  total: u32,
}

fn scan_add(lane: Lane, value: u32) -> Scan {
  return Scan(0u, value);
}
