// Every invocation reads its own rows and columns, through the caches.

const INDEXED = true; // an array of rows that a variable indexes costs a CPU nothing

// How many elems of the 16 rows from `row` on are wanted, in the tile that starts at `first_column`. 0 if the invocation's whole part of
// the tile lies outside the extent.
fn wanted_elems(lane: Lane, extent: Extent, row: u32, first_column: u32) -> u32 {
  return select(0u, extent.elems, (row < extent.rows) & (first_column + tile_column(lane) < extent.columns));
}

// Dot products of 16 rows from `row` on with four columns from `column` on. Each is summed over ascending elems.
fn dot_tile(lane: Lane, place: Place, row: u32, column: u32, elems: u32) -> Tile {
  let row0 = row_first(place, row + 0u);
  let row1 = row_first(place, row + 1u);
  let row2 = row_first(place, row + 2u);
  let row3 = row_first(place, row + 3u);
  let row4 = row_first(place, row + 4u);
  let row5 = row_first(place, row + 5u);
  let row6 = row_first(place, row + 6u);
  let row7 = row_first(place, row + 7u);
  let row8 = row_first(place, row + 8u);
  let row9 = row_first(place, row + 9u);
  let row10 = row_first(place, row + 10u);
  let row11 = row_first(place, row + 11u);
  let row12 = row_first(place, row + 12u);
  let row13 = row_first(place, row + 13u);
  let row14 = row_first(place, row + 14u);
  let row15 = row_first(place, row + 15u);
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
    r0 += products(row_elem(row0 + k), b0, b1, b2, b3);
    r1 += products(row_elem(row1 + k), b0, b1, b2, b3);
    r2 += products(row_elem(row2 + k), b0, b1, b2, b3);
    r3 += products(row_elem(row3 + k), b0, b1, b2, b3);
    r4 += products(row_elem(row4 + k), b0, b1, b2, b3);
    r5 += products(row_elem(row5 + k), b0, b1, b2, b3);
    r6 += products(row_elem(row6 + k), b0, b1, b2, b3);
    r7 += products(row_elem(row7 + k), b0, b1, b2, b3);
    r8 += products(row_elem(row8 + k), b0, b1, b2, b3);
    r9 += products(row_elem(row9 + k), b0, b1, b2, b3);
    r10 += products(row_elem(row10 + k), b0, b1, b2, b3);
    r11 += products(row_elem(row11 + k), b0, b1, b2, b3);
    r12 += products(row_elem(row12 + k), b0, b1, b2, b3);
    r13 += products(row_elem(row13 + k), b0, b1, b2, b3);
    r14 += products(row_elem(row14 + k), b0, b1, b2, b3);
    r15 += products(row_elem(row15 + k), b0, b1, b2, b3);
  }
  return Tile(r0, r1, r2, r3, r4, r5, r6, r7, r8, r9, r10, r11, r12, r13, r14, r15);
}
