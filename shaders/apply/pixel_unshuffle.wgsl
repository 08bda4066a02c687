// Moves every element of an image to its place in blocks, or back. This is a strided copy, bit for bit.
//
// An image [batch, height, width, channels] (or a planar one) and its blocks hold the same elements. Both address them by six digits
// (batch, block row, block column, dy, dx, channel), each side with its own strides.
// The host sorts the digits by the strides of the written side. It joins neighbours that are adjacent on both sides, and sends the digits
// innermost first. So writes are contiguous.
// If the image was padded, elements of row >= `rows` or column >= `columns` do not exist. Blocks get `zero` there (fill 1), and an image
// gets nothing (fill 0).
//
// source: [..] elem
// moved:  [..] elem
//
// An invocation moves `repeat` elems of 16, 4 or 2 bytes.
// Cost: one dispatch; one read and one write of each element.

// Sums of the digits taken so far, weighted by their strides.
struct Place {
  rest: u32,
  read: u32,
  write: u32,
  row: u32,
  column: u32,
}

fn take(place: Place, size: u32, read: u32, write: u32, row: u32, column: u32) -> Place {
  let rest = place.rest / size;
  let digit = place.rest - rest * size;
  return Place(rest, place.read + digit * read, place.write + digit * write, place.row + digit * row, place.column + digit * column);
}

@compute @workgroup_size(128)
fn main(grid: Grid, lane: Lane) {
  let i = linear_group(grid) * 128u + lane.index;
  if i < params.invocations {
    var place = Place(i, params.source_base + params.offset, params.moved_base, 0u, 0u);
    place = take(place, params.size0, params.read0, params.write0, params.row0, params.column0);
    if params.digits > 1u { place = take(place, params.size1, params.read1, params.write1, params.row1, params.column1); }
    if params.digits > 2u { place = take(place, params.size2, params.read2, params.write2, params.row2, params.column2); }
    if params.digits > 3u { place = take(place, params.size3, params.read3, params.write3, params.row3, params.column3); }
    if params.digits > 4u { place = take(place, params.size4, params.read4, params.write4, params.row4, params.column4); }
    if params.digits > 5u { place = take(place, params.size5, params.read5, params.write5, params.row5, params.column5); }
    let repeat = params.repeat;
    let step = Place(0u, params.repeat_read, params.repeat_write, params.repeat_row, params.repeat_column);
    let rows = params.rows;
    let columns = params.columns;
    let fill = params.fill != 0u;
    for (var k = 0u; k < repeat; k++) {
      let inside = (place.row < rows) & (place.column < columns);
      if inside | fill {
        moved[place.write] = select(elem(0u), source[select(params.source_base, place.read, inside)], inside);
      }
      place.read += step.read;
      place.write += step.write;
      place.row += step.row;
      place.column += step.column;
    }
  }
}
