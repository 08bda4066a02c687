// For subgroups of exactly eight invocations. Each computes the facts of two rows, and broadcasts them to the others, as in
// `tile_subgroup.wgsl`.

// What an invocation keeps of the facts: those of its two rows.
struct Facts {
  near: Fact,
  far: Fact,
}

fn share_facts(lane: Lane, place: Place, row: u32) -> Facts {
  return Facts(row_fact(place, row + lane.in_subgroup), row_fact(place, row + 8u + lane.in_subgroup));
}

// The shared facts of the subgroup's 16 rows. Call in uniform control flow.
fn shared_facts(lane: Lane, facts: Facts) -> RowFacts {
  return RowFacts(
    subgroupBroadcast(facts.near, 0u),
    subgroupBroadcast(facts.near, 1u),
    subgroupBroadcast(facts.near, 2u),
    subgroupBroadcast(facts.near, 3u),
    subgroupBroadcast(facts.near, 4u),
    subgroupBroadcast(facts.near, 5u),
    subgroupBroadcast(facts.near, 6u),
    subgroupBroadcast(facts.near, 7u),
    subgroupBroadcast(facts.far, 0u),
    subgroupBroadcast(facts.far, 1u),
    subgroupBroadcast(facts.far, 2u),
    subgroupBroadcast(facts.far, 3u),
    subgroupBroadcast(facts.far, 4u),
    subgroupBroadcast(facts.far, 5u),
    subgroupBroadcast(facts.far, 6u),
    subgroupBroadcast(facts.far, 7u),
  );
}
