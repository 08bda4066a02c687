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

// How far the image goes.
struct Limits {
  rows: u32,
  columns: u32,
  fill: bool,
}

// A place some steps further.
fn after(place: Place, step: Place, steps: u32) -> Place {
  return Place(
    0u, place.read + steps * step.read, place.write + steps * step.write, place.row + steps * step.row, place.column + steps * step.column
  );
}

fn inside(place: Place, limits: Limits) -> bool {
  return (place.row < limits.rows) & (place.column < limits.columns);
}

// What is at a place that is inside; else 0.
fn fetch(place: Place, limits: Limits) -> elem {
  let there = inside(place, limits);
  return select(elem(0u), source[select(params.source_base, place.read, there)], there);
}

fn put(place: Place, limits: Limits, value: elem) {
  if limits.fill | inside(place, limits) { moved[place.write] = value; }
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
    let limits = Limits(params.rows, params.columns, params.fill != 0u);
    var k = 0u;
    if AHEAD == 4u {
      for (; k + 3u < repeat; k += 4u) {
        let two = after(place, step, 1u);
        let three = after(place, step, 2u);
        let four = after(place, step, 3u);
        let value = fetch(place, limits);
        let second = fetch(two, limits);
        let third = fetch(three, limits);
        let fourth = fetch(four, limits);
        if limits.fill {
          // Without a condition of its own for each, which compilers would move its load behind.
          moved[place.write] = value;
          moved[two.write] = second;
          moved[three.write] = third;
          moved[four.write] = fourth;
        } else {
          put(place, limits, value);
          put(two, limits, second);
          put(three, limits, third);
          put(four, limits, fourth);
        }
        place = after(place, step, 4u);
      }
    }
    for (; k < repeat; k++) {
      put(place, limits, fetch(place, limits));
      place = after(place, step, 1u);
    }
  }
}
