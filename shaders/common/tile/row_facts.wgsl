// What a tile's rows are known for besides their elems, in a few words a row, behind tile_lanes. The including shader declares
//
//   alias Fact = vec2<u32>;                           or as many words as there are
//   fn row_fact(place: Place, row: u32) -> Fact        of any row, also beyond the last
//
// `row_facts_portable.wgsl` or `row_facts_subgroup.wgsl` follows, with `row_facts`.
// Of the 16 rows of an invocation.
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

