// Facts about a tile's rows besides their elems, in a few words per row. Included after tile_lanes. The including shader declares
//
//   alias Fact = vec2<u32>;                           or as many words as a row needs
//   fn row_fact(place: Place, row: u32) -> Fact        for any row, including rows past the last one
//
// `row_facts_portable.wgsl` or `row_facts_subgroup.wgsl` follows and has `share_facts` and `shared_facts`.

// The facts of an invocation's rows. Only those of tall tiles have more than eight.
struct RowFacts {
  r0: Fact,
  r1: Fact,
  r2: Fact,
  r3: Fact,
  r4: Fact,
  r5: Fact,
  r6: Fact,
  r7: Fact,
  r8: Fact,
  r9: Fact,
  r10: Fact,
  r11: Fact,
  r12: Fact,
  r13: Fact,
  r14: Fact,
  r15: Fact,
}

// The facts of the invocation's rows, from this one on. Call in uniform control flow.
fn row_facts(lane: Lane, place: Place, row: u32) -> RowFacts {
  return shared_facts(lane, share_facts(lane, place, row));
}

