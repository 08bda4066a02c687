// Reduces each window of a grid of tokens to one token.
//
//   average:  sum of the window's x / number of them
//   maximum:  the window's largest x
//   bilinear: sum_y sum_x weight_y weight_x x over the two neighbours of a position on each axis
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
//
// An empty window gives 0. The maximum uses the crate's order: the first of equals wins, and it is NaN only if all are NaN.
// One invocation sums each channel in f32, row by row, and beside it smaller terms, which take its place if the sum leaves the range. So a
// mean of finite numbers is finite.
//
// Cost: one read of each element if windows do not overlap; one write of each output.

override WINDOWS: u32 = 0u; // one of the following

const STRIDED = 0u;
const PARTIAL = 1u;
const ADAPTIVE = 2u;
const BILINEAR = 3u;

const AVERAGE = 0u;
const MAXIMUM = 1u;

// The places begin..end, the weight of the first place, and the weight of the others.
struct Window {
  begin: u32,
  end: u32,
  first: f32,
  other: f32,
}

fn window(i: u32, live: u32, outputs: u32, size: u32, stride: u32) -> Window {
  switch WINDOWS {
    case STRIDED, PARTIAL: {
      let begin = i * stride;
      let end = begin + size;
      let wanted = end <= live || (WINDOWS == PARTIAL && (i == 0u || end - stride < live));
      return Window(begin, select(begin, max(begin, min(end, live)), wanted), 1.0, 1.0);
    }
    case ADAPTIVE: {
      return Window(i * live / outputs, ((i + 1u) * live + outputs - 1u) / outputs, 1.0, 1.0);
    }
    default: {
      let unit = 2u * outputs;
      let position = max((2u * i + 1u) * live, outputs) - outputs; // in units of 1 / unit
      let begin = position / unit;
      let rest = select(0u, position - begin * unit, begin + 1u < live);
      let end = min(begin + select(1u, 2u, rest > 0u), live);
      return Window(begin, end, f32(unit - rest) / f32(unit), f32(rest) / f32(unit));
    }
  }
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
  let down = window(cell_row % params.outputs_y, params.rows, params.outputs_y, params.size_y, params.stride_y);
  let across = window(cell % params.outputs_x, live, params.outputs_x, params.size_x, params.stride_x);

  var sum = elem_f32();
  var small_sum = elem_f32();
  var largest = elem();
  var largest_key = elem_u32(KEY_DEAD);
  let zero = params.reduce >> 2u; // for made_product
  for (var row = down.begin; row < down.end; row++) {
    let weight = select(down.other, down.first, row == down.begin);
    let source = params.x_base + (batch * params.rows + row) * params.columns * params.channels + channel;
    for (var column = across.begin; column < across.end; column++) {
      let place = x[source + column * params.channels];
      let value = elem_f32(place);
      if params.reduce == MAXIMUM {
        let key = order_keys(value);
        largest = select(largest, place, key > largest_key);
        largest_key = max(largest_key, key);
      } else {
        let share = weight * select(across.other, across.first, column == across.begin);
        sum += share * value;
        small_sum += share * made_product(value, elem_f32(SHRINK_FACTOR), zero);
      }
    }
  }

  var result = largest;
  if params.reduce != MAXIMUM {
    let count = select(1.0, f32(max((down.end - down.begin) * (across.end - across.begin), 1u)), params.reduce == AVERAGE);
    // Rounding must not lift a mean of finite numbers above the largest float.
    let small = small_sum / count;
    let largest_small = elem_f32(0x1.fffffep+87f);
    let bounded = where_finite(small, clamp(small, -largest_small, largest_small), small);
    let mean = where_finite(sum, sum / count, bounded * GROW_FACTOR);
    result = elem(mean);
  }
  pooled[params.pooled_base + element] = result;
}
