// Four numbers of a row or a column, for tiles whose rows and columns pass through workgroup memory. Before it comes the alias `four`: their
// vector, of f32 or, where elems are f16, of f16.

// Makes every tile whole, because the whole workgroup takes part.
fn wanted_elems(lane: Lane, extent: Extent, row: u32, first_column: u32) -> u32 {
  return extent.elems;
}

// Four numbers: of one elem, or of four.
fn four_of(a: elem_f32, b: elem_f32, c: elem_f32, d: elem_f32) -> four {
  if ELEM_WIDTH == 4u { return four(vec4<f32>(elem_number(a, 0u), elem_number(a, 1u), elem_number(a, 2u), elem_number(a, 3u))); }
  return four(vec4<f32>(elem_number(a, 0u), elem_number(b, 0u), elem_number(c, 0u), elem_number(d, 0u)));
}

// Four numbers of a row, and of a column, from this elem on.
fn four_of_row(at: u32) -> four {
  let a = row_elem(at);
  if ELEM_WIDTH == 4u { return four_of(a, a, a, a); }
  return four_of(a, row_elem(at + 1u), row_elem(at + 2u), row_elem(at + 3u));
}

fn four_of_column(at: u32) -> four {
  let a = column_elem(at);
  if ELEM_WIDTH == 4u { return four_of(a, a, a, a); }
  return four_of(a, column_elem(at + 1u), column_elem(at + 2u), column_elem(at + 3u));
}

