// What a tile's rows are known for besides their elems, in two words a row, behind tile_lanes. The including shader declares
//
//   fn row_fact(place: Place, row: u32) -> vec2<u32>        of any row, also beyond the last
//
// `row_facts_portable.wgsl` or `row_facts_subgroup.wgsl` follows, with `row_facts`.
// Of the 16 rows of an invocation.
struct RowFacts {
  r0: vec2<u32>,
  r1: vec2<u32>,
  r2: vec2<u32>,
  r3: vec2<u32>,
  r4: vec2<u32>,
  r5: vec2<u32>,
  r6: vec2<u32>,
  r7: vec2<u32>,
  r8: vec2<u32>,
  r9: vec2<u32>,
  r10: vec2<u32>,
  r11: vec2<u32>,
  r12: vec2<u32>,
  r13: vec2<u32>,
  r14: vec2<u32>,
  r15: vec2<u32>,
}

