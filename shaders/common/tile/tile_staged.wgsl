// For GPUs: rows and columns pass through workgroup memory.
//
// Each slice holds 16 numbers of the tile's 64 rows and 64 columns, transposed, as vectors of four rows. 64 invocations fetch the rows and 64
// the columns, 16 numbers each. They fetch the next slice before they use the present one. For each number an invocation reads three vectors
// and makes 32 products. Uses 8.5 KiB of workgroup memory.
const SLICE = 16u / ELEM_WIDTH; // elems
const STRIDE = 17u; // vectors from one number of a slice to the next, chosen so that they lie in different banks
const HALF = 272u; // where the columns begin
var<workgroup> slice: array<vec4<f32>, 544>; // [rows or columns, number, STRIDE]

// Makes every tile whole, because all invocations fetch.
fn wanted_elems(lane: Lane, extent: Extent, row: u32, first_column: u32) -> u32 {
  return extent.elems;
}

fn staged_elem(is_row: bool, first: u32, k: u32, elems: u32) -> elem_f32 {
  let at = first + min(k, elems - 1u);
  var value: elem_f32;
  if is_row { value = row_elem(at); } else { value = column_elem(at); }
  return select(elem_f32(), value, k < elems);
}

// Four numbers of a row or column, from the k-th elem on, with 0 for those past the last one.
fn staged_four(is_row: bool, first: u32, k: u32, elems: u32) -> vec4<f32> {
  let a = staged_elem(is_row, first, k, elems);
  if ELEM_WIDTH == 4u {
    return vec4<f32>(elem_number(a, 0u), elem_number(a, 1u), elem_number(a, 2u), elem_number(a, 3u));
  }
  let b = staged_elem(is_row, first, k + 1u, elems);
  let c = staged_elem(is_row, first, k + 2u, elems);
  let d = staged_elem(is_row, first, k + 3u, elems);
  return vec4<f32>(elem_number(a, 0u), elem_number(b, 0u), elem_number(c, 0u), elem_number(d, 0u));
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
  let target_at = select(HALF, 0u, is_row) + number * STRIDE + four;
  let rows_at = tile_row(lane) / 4u;
  let columns_at = HALF + tile_column(lane) / 4u;
  var k = number / ELEM_WIDTH;
  var n0 = staged_four(is_row, firsts.x, k, elems);
  var n1 = staged_four(is_row, firsts.y, k, elems);
  var n2 = staged_four(is_row, firsts.z, k, elems);
  var n3 = staged_four(is_row, firsts.w, k, elems);
  var r0 = vec4<f32>();
  var r1 = vec4<f32>();
  var r2 = vec4<f32>();
  var r3 = vec4<f32>();
  var r4 = vec4<f32>();
  var r5 = vec4<f32>();
  var r6 = vec4<f32>();
  var r7 = vec4<f32>();
  for (var done = 0u; done < elems; done += SLICE) {
    workgroupBarrier(); // wait until the previous slice has been read
    slice[target_at] = vec4<f32>(n0.x, n1.x, n2.x, n3.x);
    slice[target_at + STRIDE] = vec4<f32>(n0.y, n1.y, n2.y, n3.y);
    slice[target_at + 2u * STRIDE] = vec4<f32>(n0.z, n1.z, n2.z, n3.z);
    slice[target_at + 3u * STRIDE] = vec4<f32>(n0.w, n1.w, n2.w, n3.w);
    workgroupBarrier();
    k += SLICE;
    n0 = staged_four(is_row, firsts.x, k, elems);
    n1 = staged_four(is_row, firsts.y, k, elems);
    n2 = staged_four(is_row, firsts.z, k, elems);
    n3 = staged_four(is_row, firsts.w, k, elems);
    for (var at = 0u; at < 16u * STRIDE; at += STRIDE) {
      let a = slice[rows_at + at];
      let b = slice[rows_at + at + 1u];
      let c = slice[columns_at + at];
      r0 = fma(a.xxxx, c, r0);
      r1 = fma(a.yyyy, c, r1);
      r2 = fma(a.zzzz, c, r2);
      r3 = fma(a.wwww, c, r3);
      r4 = fma(b.xxxx, c, r4);
      r5 = fma(b.yyyy, c, r5);
      r6 = fma(b.zzzz, c, r6);
      r7 = fma(b.wwww, c, r7);
    }
  }
  let none = vec4<f32>();
  return Tile(r0, r1, r2, r3, r4, r5, r6, r7, none, none, none, none, none, none, none, none);
}
