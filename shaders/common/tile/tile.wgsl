// Tiles of 64 rows and 64 columns of dot products, or of squared distances. Each of 64 invocations keeps 16 rows and 4 columns in registers. In the form for GPUs each
// of 128 keeps eight rows and 4 columns; with matrices, and subgroups of up to 64, each of 256 keeps 4 rows and 4 columns.
// The including shader declares `alias Place`, which holds what locates its rows and columns besides their number, and
//
//   fn row_first(place: Place, row: u32) -> u32        where a row's elems begin; any valid place for rows past the last one
//   fn row_elem(at: u32) -> elem_f32                   one of these elems
//   fn column_first, column_elem                       the same for columns
//
// `tile_lanes.wgsl` or a twin comes before, and assigns rows and columns to invocations. `products.wgsl` or `differences.wgsl` says what a step along
// rows and columns adds. `tile_portable.wgsl`, `tile_subgroup.wgsl`,
// `tile_staged.wgsl` or `tile_cooperative.wgsl` follows, and has `INDEXED`, `wanted_elems` and `dot_tile`.

// Row i of the invocation and its four columns. Only tall tiles have more than eight rows. The rows are named fields, because some compilers do not keep arrays of accumulators in
// registers.
struct Tile {
  r0: vec4<f32>,
  r1: vec4<f32>,
  r2: vec4<f32>,
  r3: vec4<f32>,
  r4: vec4<f32>,
  r5: vec4<f32>,
  r6: vec4<f32>,
  r7: vec4<f32>,
  r8: vec4<f32>,
  r9: vec4<f32>,
  r10: vec4<f32>,
  r11: vec4<f32>,
  r12: vec4<f32>,
  r13: vec4<f32>,
  r14: vec4<f32>,
  r15: vec4<f32>,
}

// The part of all tiles that is wanted: rows and columns below these numbers, each product over this many elems.
struct Extent {
  rows: u32,
  columns: u32,
  elems: u32,
}

// The rows as an array, for a loop. Use it if the code after the products is long.
fn rows_of(tile: Tile) -> array<vec4<f32>, 16> {
  return array<vec4<f32>, 16>(
    tile.r0, tile.r1, tile.r2, tile.r3, tile.r4, tile.r5, tile.r6, tile.r7,
    tile.r8, tile.r9, tile.r10, tile.r11, tile.r12, tile.r13, tile.r14, tile.r15,
  );
}

