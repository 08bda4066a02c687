// Each invocation computes one row's facts, and shares them through workgroup memory.
var<workgroup> facts_of_rows: array<Fact, 64>;

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
  var all = RowFacts();
  all.r0 = facts_of_rows[first];
  all.r1 = facts_of_rows[first + 1u];
  all.r2 = facts_of_rows[first + 2u];
  all.r3 = facts_of_rows[first + 3u];
  if TILE_ROWS > 4u {
    all.r4 = facts_of_rows[first + 4u];
    all.r5 = facts_of_rows[first + 5u];
    all.r6 = facts_of_rows[first + 6u];
    all.r7 = facts_of_rows[first + 7u];
  }
  if TALL {
    all.r8 = facts_of_rows[first + 8u];
    all.r9 = facts_of_rows[first + 9u];
    all.r10 = facts_of_rows[first + 10u];
    all.r11 = facts_of_rows[first + 11u];
    all.r12 = facts_of_rows[first + 12u];
    all.r13 = facts_of_rows[first + 13u];
    all.r14 = facts_of_rows[first + 14u];
    all.r15 = facts_of_rows[first + 15u];
  }
  return all;
}
