// Each invocation computes one row's facts, and shares them through workgroup memory.
var<workgroup> facts_of_rows: array<Fact, 72>; // eight more than rows, for invocations that have only eight

// What an invocation keeps of the facts: nothing.
alias Facts = bool;

// Shares the facts of the rows from this one on. Call in uniform control flow.
fn share_facts(lane: Lane, place: Place, row: u32) -> Facts {
  let mine = row_fact(place, row - tile_row(lane) + lane.index % 64u);
  workgroupBarrier(); // wait until the previous ones have been read
  if lane.index < 64u { facts_of_rows[lane.index] = mine; }
  workgroupBarrier();
  return true;
}

// The shared facts of the invocation's rows.
fn shared_facts(lane: Lane, facts: Facts) -> RowFacts {
  let first = tile_row(lane);
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
