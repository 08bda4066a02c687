// What a tile's rows are known for besides their elems, in two words a row. The including shader declares
//
//   fn row_fact(place: Place, row: u32) -> vec2<u32>        of any row, also beyond the last
//
// Each invocation finds out one row's, and shows it in workgroup memory.
var<workgroup> facts_of_rows: array<vec2<u32>, 64>;

// The first of the invocation's rows within the tile.
alias RowFacts = u32;

// Of the 16 rows from this one on, until the next call. To be called in uniform control flow.
fn row_facts(lane: Lane, place: Place, row: u32) -> RowFacts {
  let mine = row_fact(place, row - tile_row(lane) + lane.index);
  workgroupBarrier(); // the last ones have been read
  facts_of_rows[lane.index] = mine;
  workgroupBarrier();
  return tile_row(lane);
}

// Of the i-th of them.
fn fact_of(facts: RowFacts, i: u32) -> vec2<u32> {
  return facts_of_rows[facts + i];
}
