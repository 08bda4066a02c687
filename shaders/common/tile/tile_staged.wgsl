// For GPUs: rows and columns pass through workgroup memory.
//
// Each slice holds 16 numbers of the tile's 64 rows and 64 columns, transposed, as vectors of four rows. 64 invocations fetch the rows and 64
// the columns, 16 numbers each. They fetch the next slice before they use the present one. For each number an invocation reads three vectors
// and makes 32 products. Uses 8.5 KiB of workgroup memory.
alias four = vec4<f32>; // numbers that are fetched together
const INDEXED = false; // an array of rows that a variable indexes would lie in slow memory
const SLICE = 16u / ELEM_WIDTH; // elems
const COLUMNS = 16u; // where the columns begin
// [number of the rows, then of the columns, four rows or columns]; a seventeenth four, so that the numbers lie in different banks. It has two
// dimensions so that the limits of what an invocation reads are checked once, not for every number.
var<workgroup> slice: array<array<vec4<f32>, 17>, 32>;

// The four numbers from the k-th elem on of four rows or columns.
fn fetched(is_row: bool, firsts: vec4<u32>, k: u32) -> mat4x4<f32> {
  let at = firsts + k;
  if is_row { return mat4x4<f32>(four_of_row(at.x), four_of_row(at.y), four_of_row(at.z), four_of_row(at.w)); }
  return mat4x4<f32>(four_of_column(at.x), four_of_column(at.y), four_of_column(at.z), four_of_column(at.w));
}

fn opening_elem(is_row: bool, first: u32, k: u32, elems: u32) -> elem_f32 {
  let at = first + min(k, elems - 1u);
  var value: elem_f32;
  if is_row { value = row_elem(at); } else { value = column_elem(at); }
  return select(elem_f32(), value, k < elems);
}

fn opening_four(is_row: bool, first: u32, k: u32, elems: u32) -> vec4<f32> {
  let a = opening_elem(is_row, first, k, elems);
  if ELEM_WIDTH == 4u { return four_of(a, a, a, a); }
  return four_of(
    a,
    opening_elem(is_row, first, k + 1u, elems),
    opening_elem(is_row, first, k + 2u, elems),
    opening_elem(is_row, first, k + 3u, elems),
  );
}

// `fetched` for the first slice, with 0 from the elems-th elem on.
fn opening(is_row: bool, firsts: vec4<u32>, k: u32, elems: u32) -> mat4x4<f32> {
  return mat4x4<f32>(
    opening_four(is_row, firsts.x, k, elems),
    opening_four(is_row, firsts.y, k, elems),
    opening_four(is_row, firsts.z, k, elems),
    opening_four(is_row, firsts.w, k, elems),
  );
}

// Sums of the invocation's eight rows and four columns.
struct Eight {
  r0: vec4<f32>,
  r1: vec4<f32>,
  r2: vec4<f32>,
  r3: vec4<f32>,
  r4: vec4<f32>,
  r5: vec4<f32>,
  r6: vec4<f32>,
  r7: vec4<f32>,
}

// The sums and the products of the slice.
fn plus_slice(lane: Lane, sums: Eight) -> Eight {
  var all = sums;
  let row = tile_row(lane) / 4u;
  let column = tile_column(lane) / 4u;
  for (var i = 0u; i < 16u; i++) {
    let a = slice[i][row];
    let b = slice[i][row + 1u];
    let c = slice[COLUMNS + i][column];
    all.r0 = plus_products(a.xxxx, c, all.r0);
    all.r1 = plus_products(a.yyyy, c, all.r1);
    all.r2 = plus_products(a.zzzz, c, all.r2);
    all.r3 = plus_products(a.wwww, c, all.r3);
    all.r4 = plus_products(b.xxxx, c, all.r4);
    all.r5 = plus_products(b.yyyy, c, all.r5);
    all.r6 = plus_products(b.zzzz, c, all.r6);
    all.r7 = plus_products(b.wwww, c, all.r7);
  }
  return all;
}

// Dot products of eight rows from `row` on with four columns from `column` on. Each is summed over ascending numbers. Call in uniform control
// flow.
fn dot_tile(lane: Lane, place: Place, row: u32, column: u32, elems: u32) -> Tile {
  if elems == 0u { return Tile(); }
  let is_row = lane.index < 64u;
  let four = lane.index % 64u / 4u; // which four rows or columns this invocation fetches
  let number = lane.index % 4u * 4u;
  var firsts: vec4<u32>;
  if is_row {
    let r = row - tile_row(lane) + four * 4u;
    firsts = vec4<u32>(row_first(place, r), row_first(place, r + 1u), row_first(place, r + 2u), row_first(place, r + 3u));
  } else {
    let c = column - tile_column(lane) + four * 4u;
    firsts = vec4<u32>(column_first(place, c), column_first(place, c + 1u), column_first(place, c + 2u), column_first(place, c + 3u));
  }
  let kept = select(COLUMNS, 0u, is_row) + number; // where it puts the first of four numbers
  // The first slice is the one that is not whole, so the loop does not ask. The fetch behind the last slice repeats that slice.
  let rest = (elems - 1u) % SLICE + 1u;
  let place_in_slice = number / ELEM_WIDTH;
  let stop = max(elems, SLICE) - SLICE + place_in_slice;
  var next = opening(is_row, firsts, place_in_slice, rest);
  var k = rest + place_in_slice;
  var sums = Eight();
  for (var done = 0u; done < elems; done += SLICE) {
    workgroupBarrier(); // wait until the previous slice has been read
    let numbers = transpose(next);
    slice[kept][four] = numbers[0];
    slice[kept + 1u][four] = numbers[1];
    slice[kept + 2u][four] = numbers[2];
    slice[kept + 3u][four] = numbers[3];
    workgroupBarrier();
    next = fetched(is_row, firsts, min(k, stop));
    k += SLICE;
    sums = plus_slice(lane, sums);
  }
  let none = vec4<f32>();
  return Tile(
    sums.r0, sums.r1, sums.r2, sums.r3, sums.r4, sums.r5, sums.r6, sums.r7,
    none, none, none, none, none, none, none, none,
  );
}

