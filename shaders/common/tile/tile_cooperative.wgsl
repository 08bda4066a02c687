// For devices with cooperative matrices of f16 whose sums are f32. Included after tile_lanes. `tile_cooperative_8.wgsl` or
// `tile_cooperative_16.wgsl` follows and has `dot_tile`. The including shader's params have `channels`, the number of elems in the products:
// loops around matrices need bounds that naga knows to be uniform.
//
// Slices of 32 numbers of the tile's rows and columns pass through workgroup memory, and the matrices are loaded from there. So the rows may
// lie anywhere. The next slice is fetched before the present one is used. f16 numbers are copied unchanged, and products are exact. The device
// decides the order of their sums.
//
// Each of four subgroups makes a quarter of the tile, 32 x 32 results, in matrices that it keeps. Where subgroups are smaller there are
// more of them, and several make the same quarter: they store the same bits. The results pass through workgroup memory once, a quarter of each
// quarter at a time, because all at once would take the memory of another workgroup. So that every invocation gets a part of each, half of an
// invocation's rows lie in the upper half of a subgroup's rows, and half of its columns in the left half of the columns.
// Uses 15 KiB of workgroup memory.
alias four = vec4<f16>; // numbers that are fetched together
const INDEXED = false; // an array of rows that a variable indexes would lie in slow memory
const SLICE = 32u / ELEM_WIDTH; // elems
const FOURS = 10u; // fours of numbers from one row of a slice to the next, two more than it has, so that rows lie in different banks
const COLUMNS = 64u; // the row of a slice where the tile's columns begin
const PAIRS = 20u; // pairs of results from one row of those in workgroup memory to the next
const HALF_ROWS = TILE_ROWS / 2u;
const STEP = TILE_LANES / 8u; // an invocation fetches every so many rows

// The row of the tile in this row of a slice, and the column.
fn sliced_row(place: u32) -> u32 {
  let in_half = place % 16u;
  return place / 32u * 32u + in_half / HALF_ROWS * TILE_ROWS + place % 32u / 16u * HALF_ROWS + in_half % HALF_ROWS;
}

fn sliced_column(place: u32) -> u32 {
  let in_half = place % 16u;
  return place / 32u * 32u + in_half / 2u * 4u + place % 32u / 16u * 2u + in_half % 2u;
}

// Where the rows and columns that an invocation fetches begin: four of each, or two if there are 256 invocations.
struct Firsts {
  rows: vec4<u32>,
  columns: vec4<u32>,
}

fn firsts_of(lane: Lane, place: Place, row: u32, column: u32) -> Firsts {
  let r = row - tile_row(lane);
  let c = column - tile_column(lane);
  let own = lane.index / 8u;
  var firsts = Firsts();
  firsts.rows.x = row_first(place, r + sliced_row(own));
  firsts.rows.y = row_first(place, r + sliced_row(own + STEP));
  firsts.columns.x = column_first(place, c + sliced_column(own));
  firsts.columns.y = column_first(place, c + sliced_column(own + STEP));
  if STEP == 16u {
    firsts.rows.z = row_first(place, r + sliced_row(own + 32u));
    firsts.rows.w = row_first(place, r + sliced_row(own + 48u));
    firsts.columns.z = column_first(place, c + sliced_column(own + 32u));
    firsts.columns.w = column_first(place, c + sliced_column(own + 48u));
  }
  return firsts;
}

// Of the first slice: the four numbers that begin at the k-th of `rest` elems, with 0 for those behind.
fn opening_of_row(first: u32, k: u32, rest: u32) -> vec4<f16> {
  let number = vec4<u32>(k, k + 1u, k + 2u, k + 3u);
  let at = first + min(number, vec4<u32>(rest - 1u));
  let a = row_elem(at.x);
  if ELEM_WIDTH == 4u { return select(vec4<f16>(), four_of(a, a, a, a), k < rest); }
  let four = four_of(a, row_elem(at.y), row_elem(at.z), row_elem(at.w));
  return select(vec4<f16>(), four, number < vec4<u32>(rest));
}

fn opening_of_column(first: u32, k: u32, rest: u32) -> vec4<f16> {
  let number = vec4<u32>(k, k + 1u, k + 2u, k + 3u);
  let at = first + min(number, vec4<u32>(rest - 1u));
  let a = column_elem(at.x);
  if ELEM_WIDTH == 4u { return select(vec4<f16>(), four_of(a, a, a, a), k < rest); }
  let four = four_of(a, column_elem(at.y), column_elem(at.z), column_elem(at.w));
  return select(vec4<f16>(), four, number < vec4<u32>(rest));
}

// What an invocation fetches of a slice: four numbers of each of its rows and columns.
struct Fetched {
  a0: vec4<f16>,
  a1: vec4<f16>,
  a2: vec4<f16>,
  a3: vec4<f16>,
  b0: vec4<f16>,
  b1: vec4<f16>,
  b2: vec4<f16>,
  b3: vec4<f16>,
}

fn opening(firsts: Firsts, k: u32, rest: u32) -> Fetched {
  var all = Fetched();
  all.a0 = opening_of_row(firsts.rows.x, k, rest);
  all.a1 = opening_of_row(firsts.rows.y, k, rest);
  all.b0 = opening_of_column(firsts.columns.x, k, rest);
  all.b1 = opening_of_column(firsts.columns.y, k, rest);
  if STEP == 16u {
    all.a2 = opening_of_row(firsts.rows.z, k, rest);
    all.a3 = opening_of_row(firsts.rows.w, k, rest);
    all.b2 = opening_of_column(firsts.columns.z, k, rest);
    all.b3 = opening_of_column(firsts.columns.w, k, rest);
  }
  return all;
}

fn fetched(firsts: Firsts, k: u32) -> Fetched {
  var all = Fetched();
  all.a0 = four_of_row(firsts.rows.x + k);
  all.a1 = four_of_row(firsts.rows.y + k);
  all.b0 = four_of_column(firsts.columns.x + k);
  all.b1 = four_of_column(firsts.columns.y + k);
  if STEP == 16u {
    all.a2 = four_of_row(firsts.rows.z + k);
    all.a3 = four_of_row(firsts.rows.w + k);
    all.b2 = four_of_column(firsts.columns.z + k);
    all.b3 = four_of_column(firsts.columns.w + k);
  }
  return all;
}

// Puts them into workgroup memory.
fn keep_all(lane: Lane, all: Fetched) {
  let at = lane.index / 8u * FOURS + lane.index % 8u;
  keep(at, all.a0);
  keep(at + STEP * FOURS, all.a1);
  keep(at + COLUMNS * FOURS, all.b0);
  keep(at + (COLUMNS + STEP) * FOURS, all.b1);
  if STEP == 16u {
    keep(at + 32u * FOURS, all.a2);
    keep(at + 48u * FOURS, all.a3);
    keep(at + (COLUMNS + 32u) * FOURS, all.b2);
    keep(at + (COLUMNS + 48u) * FOURS, all.b3);
  }
}

// Half of the invocation's rows, and of their columns. If there are 256 invocations only two rows count.
struct Part {
  r0: vec2<f32>,
  r1: vec2<f32>,
  r2: vec2<f32>,
  r3: vec2<f32>,
}

// The invocation's part of the results in workgroup memory.
fn result_part(lane: Lane) -> Part {
  let row = tile_row(lane);
  let column = tile_column(lane);
  let at = (row / 32u * 16u + row % 32u / TILE_ROWS * HALF_ROWS) * PAIRS + column / 32u * 8u + column % 32u / 4u;
  var part = Part();
  part.r0 = result_pair(at);
  part.r1 = result_pair(at + PAIRS);
  if HALF_ROWS == 4u {
    part.r2 = result_pair(at + 2u * PAIRS);
    part.r3 = result_pair(at + 3u * PAIRS);
  }
  return part;
}

// The invocation's tile: the upper rows' left and right columns, and the lower rows'.
fn tile_of(a: Part, b: Part, c: Part, d: Part) -> Tile {
  var tile = Tile();
  tile.r0 = vec4<f32>(a.r0, b.r0);
  tile.r1 = vec4<f32>(a.r1, b.r1);
  if HALF_ROWS == 4u {
    tile.r2 = vec4<f32>(a.r2, b.r2);
    tile.r3 = vec4<f32>(a.r3, b.r3);
    tile.r4 = vec4<f32>(c.r0, d.r0);
    tile.r5 = vec4<f32>(c.r1, d.r1);
    tile.r6 = vec4<f32>(c.r2, d.r2);
    tile.r7 = vec4<f32>(c.r3, d.r3);
  } else {
    tile.r2 = vec4<f32>(c.r0, d.r0);
    tile.r3 = vec4<f32>(c.r1, d.r1);
  }
  return tile;
}

