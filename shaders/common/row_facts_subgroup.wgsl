// `row_facts.wgsl` for subgroups of exactly eight invocations: each finds two rows' out, and the others get them by shuffles, as in
// `tile_subgroup.wgsl`.
struct RowFacts {
  near: vec2<u32>,
  far: vec2<u32>,
}

// Of the 16 rows from this one on. To be called in uniform control flow.
fn row_facts(lane: Lane, place: Place, row: u32) -> RowFacts {
  return RowFacts(row_fact(place, row + lane.in_subgroup), row_fact(place, row + 8u + lane.in_subgroup));
}

// Of the i-th of them.
fn fact_of(facts: RowFacts, i: u32) -> vec2<u32> {
  return subgroupShuffle(select(facts.near, facts.far, i >= 8u), i % 8u);
}
