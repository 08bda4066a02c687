// For subgroups of exactly eight invocations. Each computes the facts of two rows, and broadcasts them to the others, as in
// `tile_subgroup.wgsl`.

// The facts of the 16 rows from this one on. Call in uniform control flow.
fn row_facts(lane: Lane, place: Place, row: u32) -> RowFacts {
  let near = row_fact(place, row + lane.in_subgroup);
  let far = row_fact(place, row + 8u + lane.in_subgroup);
  return RowFacts(
    subgroupBroadcast(near, 0u),
    subgroupBroadcast(near, 1u),
    subgroupBroadcast(near, 2u),
    subgroupBroadcast(near, 3u),
    subgroupBroadcast(near, 4u),
    subgroupBroadcast(near, 5u),
    subgroupBroadcast(near, 6u),
    subgroupBroadcast(near, 7u),
    subgroupBroadcast(far, 0u),
    subgroupBroadcast(far, 1u),
    subgroupBroadcast(far, 2u),
    subgroupBroadcast(far, 3u),
    subgroupBroadcast(far, 4u),
    subgroupBroadcast(far, 5u),
    subgroupBroadcast(far, 6u),
    subgroupBroadcast(far, 7u),
  );
}
