// Reduces each window of a grid of tokens to one token.
//
//   average:  sum of the window's x / number of them
//   maximum:  the window's largest x
//   bilinear: sum_y sum_x weight_y weight_x x over the neighbours of a position on each axis
//
// x:       [B, rows * columns, C] elem, four channels per elem where C and the alignment allow it
// lengths: [B] u32; live columns of each row
// pooled:  [B, outputs_y * outputs_x, C] elem
//
// Windows on an axis of n live places (floors and ceilings are of integers, so exact on every device):
//   strided:  i stride .. i stride + size; no window if that end passes n
//             partial: the end is cut at n; no window if the one before already reached n
//   adaptive: floor(i n / outputs) .. ceil((i + 1) n / outputs)
//   bilinear: floor(p) and floor(p) + 1, for p = max((2 i + 1) n / (2 outputs) - 1/2, 0)
//             the first alone, with weight 1, if p is an integer or the second lies past the end
//   padded:   i stride - before + k dilation of k < size, as far as they are places; a place more beyond either end is padding
//   aligned:  the same for p = i (n - 1) / (outputs - 1), or 0 of one output
//   antialiased: all places j whose weight 1 - |j + 1/2 - (i + 1/2) n / outputs| / max(n / outputs, 1) is above 0, over the sum of the weights
//
// A window that is not there gives 0, and a maximum of padding alone is negative infinity. The maximum uses the crate's order: the first of equals wins, and it is NaN only if all are NaN.
// One invocation sums each channel in f32, row by row, and beside it smaller terms, which take its place if the sum leaves the range. So a
// mean of finite numbers is finite.
//
// Cost: one read of each element if windows do not overlap; one write of each output.

override WINDOWS: u32 = 0u; // one of the following

const STRIDED = 0u;
const PARTIAL = 1u;
const ADAPTIVE = 2u;
const BILINEAR = 3u;
const PADDED = 4u;
const ALIGNED = 5u;
const ANTIALIASED = 6u;

override REDUCE: u32 = 0u; // one of the following

const AVERAGE = 0u; // or an interpolation
const MAXIMUM = 1u;

// Windows of one axis.
struct Axis {
  outputs: u32,
  size: u32,
  stride: u32,
  dilation: u32,
  before: u32,
  after: u32,
}

fn even(begin: u32, end: u32) -> Window {
  return Window(begin, end, 1.0, 1.0, 1u, end > begin, end - begin, 0u);
}

fn padded(i: u32, live: u32, axis: Axis) -> Window {
  let at = i * axis.stride; // counted from the padding on, as `last` and `room`
  let last = at + (axis.size - 1u) * axis.dilation;
  let room = live + axis.before + axis.after;
  // If the last window may be cut, the one before it leaves something, and it does not begin in the padding at the end.
  let cut = i == 0u || (last - axis.stride + 1u < room && at < live + axis.before);
  let there = live > 0u && select(last < room, cut, params.is_partial == 1u);
  let skipped = (max(axis.before, at) - at + axis.dilation - 1u) / axis.dilation;
  let begin = at + skipped * axis.dilation - axis.before;
  let end = select(begin, max(begin, min(max(last + 1u, axis.before) - axis.before, live)), there);
  let inside = (end - begin + axis.dilation - 1u) / axis.dilation;
  let all = min(axis.size, (room - min(at, room) + axis.dilation - 1u) / axis.dilation);
  return Window(begin, end, 1.0, 1.0, axis.dilation, there, select(inside, all, params.counts_padding == 1u), 0u);
}

fn window(i: u32, live: u32, axis: Axis) -> Window {
  switch WINDOWS {
    case STRIDED, PARTIAL: {
      let begin = i * axis.stride;
      let end = begin + axis.size;
      let wanted = end <= live || (WINDOWS == PARTIAL && (i == 0u || end - axis.stride < live));
      return even(begin, select(begin, max(begin, min(end, live)), wanted));
    }
    case ADAPTIVE: {
      return even(i * live / axis.outputs, ((i + 1u) * live + axis.outputs - 1u) / axis.outputs);
    }
    case PADDED: {
      return padded(i, live, axis);
    }
    case ALIGNED: {
      let unit = max(axis.outputs, 2u) - 1u;
      let position = i * (max(live, 1u) - 1u); // in units of 1 / unit
      return between(position / unit, position % unit, unit, live);
    }
    case ANTIALIASED: {
      return antialiased(i, live, axis.outputs);
    }
    default: {
      return bilinear(i, live, axis.outputs);
    }
  }
}

// The weight of a place of a window.
fn weight_of(window: Window, place: u32, live: u32, outputs: u32) -> f32 {
  if WINDOWS == ANTIALIASED { return antialiased_weight(window, place, live, outputs); }
  return select(window.other, window.first, place == window.begin);
}

@compute @workgroup_size(128)
fn main(grid: Grid, lane: Lane) {
  let element = linear_group(grid) * 128u + lane.index;
  if element >= params.elements { return; }
  let channel = element % params.channels;
  let cell = element / params.channels;
  let cell_row = cell / params.outputs_x;
  let batch = cell_row / params.outputs_y;
  let live = min(lengths[params.lengths_base + batch], params.columns);
  let rows = Axis(params.outputs_y, params.size_y, params.stride_y, params.dilation_y, params.before_y, params.after_y);
  let columns = Axis(params.outputs_x, params.size_x, params.stride_x, params.dilation_x, params.before_x, params.after_x);
  let down = window(cell_row % params.outputs_y, params.rows, rows);
  let across = window(cell % params.outputs_x, live, columns);

  var sum = elem_f32();
  var small_sum = elem_f32();
  var weights = 0.0;
  var largest = elem();
  var largest_key = elem_u32(KEY_DEAD);
  let zero = params.is_partial >> 1u; // for made_product
  for (var row = down.begin; row < down.end; row += down.step) {
    let weight = weight_of(down, row, params.rows, params.outputs_y);
    let source = params.x_base + (batch * params.rows + row) * params.columns * params.channels + channel;
    for (var column = across.begin; column < across.end; column += across.step) {
      let place = x[source + column * params.channels];
      let value = elem_f32(place);
      if REDUCE == MAXIMUM {
        let key = order_keys(value);
        largest = select(largest, place, key > largest_key);
        largest_key = max(largest_key, key);
      } else {
        let share = weight * weight_of(across, column, live, params.outputs_x);
        weights += share;
        sum += share * value;
        small_sum += share * made_product(value, elem_f32(SHRINK_FACTOR), zero);
      }
    }
  }

  var result = largest;
  if WINDOWS == PADDED && down.there && across.there && !(down.begin < down.end && across.begin < across.end) {
    var negative_infinity = 0xff800000u; // a constant may not be infinite
    result = elem(elem_f32(bitcast<f32>(negative_infinity)));
  }
  if REDUCE != MAXIMUM {
    var count = f32(max(down.divisor * across.divisor, 1u));
    if WINDOWS == ANTIALIASED { count = select(1.0, weights, weights > 0.0); }
    // Rounding must not lift a mean of finite numbers above the largest float.
    let small = small_sum / count;
    let largest_small = elem_f32(0x1.fffffep+87f);
    let bounded = where_finite(small, clamp(small, -largest_small, largest_small), small);
    let mean = where_finite(sum, sum / count, bounded * GROW_FACTOR);
    result = elem(mean);
  }
  pooled[params.pooled_base + element] = result;
}
