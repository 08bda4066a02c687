// A workgroup within its grid, which is folded into two dimensions. It is not in Lane, because a struct counts as uniform only if all its
// members do.
struct Grid {
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
}

// The linear id of the workgroup.
fn linear_group(grid: Grid) -> u32 {
  return grid.group.y * grid.groups.x + grid.group.x;
}

