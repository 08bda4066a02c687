// For subgroups of exactly eight invocations, as on a CPU with 256-bit vectors.
//
// A subgroup shares 16 rows. Each invocation reads two of them, and broadcasts them to the others. On a CPU, loads take most of the time: a
// load by eight invocations is eight loads, and a broadcast is one instruction. Call in uniform control flow.

const INDEXED = true; // an array of rows that a variable indexes costs a CPU nothing

// How many elems of the 16 rows from `row` on are wanted, in the tile that starts at `first_column`. 0 if the subgroup's whole part of the
// tile lies outside the extent. The result is the same for the whole subgroup.
fn wanted_elems(lane: Lane, extent: Extent, row: u32, first_column: u32) -> u32 {
  return select(0u, extent.elems, (row < extent.rows) & (first_column + lane.subgroup / 4u * 32u < extent.columns));
}

// Dot products of 16 rows from `row` on with four columns from `column` on. Each is summed over ascending elems.
fn dot_tile(lane: Lane, place: Place, row: u32, column: u32, elems: u32) -> Tile {
  let near = row_first(place, row + lane.in_subgroup);
  let far = row_first(place, row + 8u + lane.in_subgroup);
  let column0 = column_first(place, column + 0u);
  let column1 = column_first(place, column + 1u);
  let column2 = column_first(place, column + 2u);
  let column3 = column_first(place, column + 3u);
  var r0 = vec4<f32>();
  var r1 = vec4<f32>();
  var r2 = vec4<f32>();
  var r3 = vec4<f32>();
  var r4 = vec4<f32>();
  var r5 = vec4<f32>();
  var r6 = vec4<f32>();
  var r7 = vec4<f32>();
  var r8 = vec4<f32>();
  var r9 = vec4<f32>();
  var r10 = vec4<f32>();
  var r11 = vec4<f32>();
  var r12 = vec4<f32>();
  var r13 = vec4<f32>();
  var r14 = vec4<f32>();
  var r15 = vec4<f32>();
  for (var k = 0u; k < elems; k++) {
    let b0 = column_elem(column0 + k);
    let b1 = column_elem(column1 + k);
    let b2 = column_elem(column2 + k);
    let b3 = column_elem(column3 + k);
    let a = row_elem(near + k);
    r0 += products(subgroupBroadcast(a, 0u), b0, b1, b2, b3);
    r1 += products(subgroupBroadcast(a, 1u), b0, b1, b2, b3);
    r2 += products(subgroupBroadcast(a, 2u), b0, b1, b2, b3);
    r3 += products(subgroupBroadcast(a, 3u), b0, b1, b2, b3);
    r4 += products(subgroupBroadcast(a, 4u), b0, b1, b2, b3);
    r5 += products(subgroupBroadcast(a, 5u), b0, b1, b2, b3);
    r6 += products(subgroupBroadcast(a, 6u), b0, b1, b2, b3);
    r7 += products(subgroupBroadcast(a, 7u), b0, b1, b2, b3);
    let c = row_elem(far + k);
    r8 += products(subgroupBroadcast(c, 0u), b0, b1, b2, b3);
    r9 += products(subgroupBroadcast(c, 1u), b0, b1, b2, b3);
    r10 += products(subgroupBroadcast(c, 2u), b0, b1, b2, b3);
    r11 += products(subgroupBroadcast(c, 3u), b0, b1, b2, b3);
    r12 += products(subgroupBroadcast(c, 4u), b0, b1, b2, b3);
    r13 += products(subgroupBroadcast(c, 5u), b0, b1, b2, b3);
    r14 += products(subgroupBroadcast(c, 6u), b0, b1, b2, b3);
    r15 += products(subgroupBroadcast(c, 7u), b0, b1, b2, b3);
  }
  return Tile(r0, r1, r2, r3, r4, r5, r6, r7, r8, r9, r10, r11, r12, r13, r14, r15);
}
