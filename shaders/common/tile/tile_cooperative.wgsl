// For devices with cooperative matrices of f16 whose sums are f32. Included after tile_lanes. `tile_cooperative_8.wgsl` or
// `tile_cooperative_16.wgsl` follows and has `dot_tile`.
//
// Copies 16 numbers of each row and column at a time to workgroup memory, and loads the matrices from there. So the rows may lie anywhere.
// f16 numbers are copied unchanged, and products are exact. The device decides the order of their sums. Uses 14 KiB of workgroup memory.
const INDEXED = false; // an array of rows that a variable indexes would lie in slow memory
const SLICE = 16u / ELEM_WIDTH; // elems
const STRIDE = 24u; // numbers from one row of a slice to the next, chosen so that rows lie in different banks
var<workgroup> row_slice: array<f16, 1536>; // [64, STRIDE]
var<workgroup> column_slice: array<f16, 1536>;
var<workgroup> half_tile: array<f32, 2048>; // [64, 32]
// The number of elems in the products, and the number of rows that the subgroups make at a time. They are here because loops around
// matrices need uniform bounds.
var<workgroup> bounds: vec2<u32>;

// Makes every tile whole, because the matrices need the whole workgroup.
fn wanted_elems(lane: Lane, extent: Extent, row: u32, first_column: u32) -> u32 {
  return extent.elems;
}

// Where the rows and columns that an invocation fetches begin: every 16th of the tile.
struct Fetched {
  rows: vec4<u32>,
  columns: vec4<u32>,
}

fn fetched_from(lane: Lane, place: Place, row: u32, column: u32) -> Fetched {
  let r = row - tile_row(lane) + lane.index / 4u;
  let c = column - tile_column(lane) + lane.index / 4u;
  return Fetched(
    vec4<u32>(row_first(place, r), row_first(place, r + 16u), row_first(place, r + 32u), row_first(place, r + 48u)),
    vec4<u32>(column_first(place, c), column_first(place, c + 16u), column_first(place, c + 32u), column_first(place, c + 48u)),
  );
}

// Copies the elems from the k-th on to workgroup memory, with 0 for those from `elems` on. Call in uniform control flow.
fn show_slice(lane: Lane, fetched: Fetched, k: u32, elems: u32) {
  workgroupBarrier(); // wait until the previous ones have been read
  for (var e = lane.index % 4u; e < SLICE; e += 4u) {
    for (var i = 0u; i < 4u; i++) {
      var a = elem_f32();
      var b = elem_f32();
      if k + e < elems {
        a = row_elem(fetched.rows[i] + k + e);
        b = column_elem(fetched.columns[i] + k + e);
      }
      let at = (lane.index / 4u + 16u * i) * STRIDE + e * ELEM_WIDTH;
      for (var n = 0u; n < ELEM_WIDTH; n++) {
        row_slice[at + n] = f16(elem_number(a, n));
        column_slice[at + n] = f16(elem_number(b, n));
      }
    }
  }
  workgroupBarrier();
}

fn uniform_bounds(lane: Lane, elems: u32) -> vec2<u32> {
  if lane.index == 0u {
    bounds = vec2<u32>(elems, BLOCK * lane.subgroups);
  }
  return workgroupUniformLoad(&bounds);
}

fn shown_row(lane: Lane, i: u32) -> vec4<f32> {
  let at = (tile_row(lane) + i) * 32u + tile_column(lane) % 32u;
  return vec4<f32>(half_tile[at], half_tile[at + 1u], half_tile[at + 2u], half_tile[at + 3u]);
}

// The invocation's tile, from the rows and the half of the columns in workgroup memory.
fn shown_tile(lane: Lane) -> Tile {
  return Tile(
    shown_row(lane, 0u),
    shown_row(lane, 1u),
    shown_row(lane, 2u),
    shown_row(lane, 3u),
    shown_row(lane, 4u),
    shown_row(lane, 5u),
    shown_row(lane, 6u),
    shown_row(lane, 7u),
    shown_row(lane, 8u),
    shown_row(lane, 9u),
    shown_row(lane, 10u),
    shown_row(lane, 11u),
    shown_row(lane, 12u),
    shown_row(lane, 13u),
    shown_row(lane, 14u),
    shown_row(lane, 15u),
  );
}

