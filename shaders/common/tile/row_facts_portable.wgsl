// Each invocation computes one row's facts, and shares them through workgroup memory.
var<workgroup> facts_of_rows: array<Fact, 72>; // eight more than rows, for invocations that have only eight

// The facts of the invocation's rows, from this one on. Call in uniform control flow.
fn row_facts(lane: Lane, place: Place, row: u32) -> RowFacts {
  let first = tile_row(lane);
  let mine = row_fact(place, row - first + lane.index % 64u);
  workgroupBarrier(); // wait until the previous ones have been read
  if lane.index < 64u { facts_of_rows[lane.index] = mine; }
  workgroupBarrier();
  return RowFacts(
    facts_of_rows[first + 0u],
    facts_of_rows[first + 1u],
    facts_of_rows[first + 2u],
    facts_of_rows[first + 3u],
    facts_of_rows[first + 4u],
    facts_of_rows[first + 5u],
    facts_of_rows[first + 6u],
    facts_of_rows[first + 7u],
    facts_of_rows[first + 8u],
    facts_of_rows[first + 9u],
    facts_of_rows[first + 10u],
    facts_of_rows[first + 11u],
    facts_of_rows[first + 12u],
    facts_of_rows[first + 13u],
    facts_of_rows[first + 14u],
    facts_of_rows[first + 15u],
  );
}
