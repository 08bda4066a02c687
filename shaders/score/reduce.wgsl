// Reduces one axis of a tensor to a statistic.
//
//   mean:     sum_i x_i / n                     max: max_i x_i
//   sum:      sum_i x_i                         min: min_i x_i
//   variance: sum_i (x_i - mean)^2 / (n - correction)
//
// x:       [outer, entries, inner] elem
// lengths: [L] u32; the number of entries that count, for each outer / L of the outer rows
// reduced: [outer, inner] elem
//
// Without entries the result is 0. Max and min use the crate's order: the result is NaN only if every entry is NaN, and a zero is +0.
// Integers are summed as integers.
// A float sum is made of `strips` interleaved sums, each in ascending order. Their number depends on inner alone. Beside it a sum of smaller
// terms is made, which takes its place if it leaves f32's range. So a result is infinite only if the exact result lies outside the range.
//
// Cost: one read of x, two for a variance; neighbouring invocations read neighbouring elements.

override INTEGER: u32 = 0u; // 1 of integers
override STATISTIC: u32 = 0u; // one of the following

const MEAN = 0u;
const SUM = 1u;
const MAX = 2u;
const MIN = 3u;
const VARIANCE = 4u;

var<workgroup> sums: array<f32, 128>;
var<workgroup> words: array<u32, 128>; // integer sums, or keys, or the bits of sums of smaller terms

// The sum of an output's strips. If it leaves the range, it is that of the smaller terms.
struct Total {
  sum: f32,
  shrunk: bool,
}

// Every invocation of an output adds its strips in the same order.
fn total_of(first_strip: u32) -> Total {
  var sum = 0.0;
  for (var s = 0u; s < params.strips; s++) {
    sum += sums[first_strip + s * params.width];
  }
  let shrunk = !is_finite(sum);
  var small = 0.0;
  for (var s = 0u; s < params.strips && shrunk; s++) {
    small += bitcast<f32>(words[first_strip + s * params.width]);
  }
  return Total(select(sum, small, shrunk), shrunk);
}

// A product that the compiler cannot take out of a sum. `zero` is always 0, but the compiler cannot know this.
fn scaled(value: f32, factor: f32, zero: u32) -> f32 {
  return bitcast<f32>(bitcast<u32>(value * factor) | zero);
}

@compute @workgroup_size(128)
fn main(grid: Grid, lane: Lane) {
  // A team reduces a tile, with `strips` invocations for each output.
  let team_size = params.width * params.strips;
  let teams = 128u / team_size;
  let first = linear_group(grid) * teams;
  if first >= params.tiles { return; }
  let tile = first + lane.index / team_size;
  let strip = lane.index % team_size / params.width;
  let tiles_of_row = (params.inner + params.width - 1u) / params.width;
  let outer = tile / tiles_of_row;
  let column = tile % tiles_of_row * params.width + lane.index % params.width;
  let live = tile < params.tiles && column < params.inner;
  var count = 0u;
  if live {
    count = min(lengths[params.lengths_base + outer / params.outer_of_length], params.entries);
  }
  let source = params.x_base + outer * params.entries * params.inner + column;
  let smallest = STATISTIC == MIN;

  let summed = INTEGER == 0u && STATISTIC != MAX && !smallest;
  let zero = params.width >> 8u; // for scaled
  var sum = 0.0;
  var small = 0.0;
  var word = 0u;
  for (var i = strip; i < count; i += params.strips) {
    let value = x[source + i * params.inner];
    if STATISTIC == MAX || smallest {
      var key = u32(value);
      if INTEGER == 0u {
        key = order_key(f32(value));
        // Reversed for a minimum. NaN still stays lowest.
        key = select(key, select(~key, KEY_NAN, key == KEY_NAN), smallest);
      } else {
        key = select(key, ~key, smallest);
      }
      word = max(word, key);
    } else if INTEGER == 1u {
      word += u32(value);
    } else {
      sum += f32(value);
      small += scaled(f32(value), SHRINK_FACTOR, zero);
    }
  }
  sums[lane.index] = sum;
  words[lane.index] = select(word, bitcast<u32>(small), summed);
  workgroupBarrier();
  let first_strip = lane.index - strip * params.width;
  var total = Total();
  if STATISTIC == MAX || smallest || INTEGER == 1u {
    word = 0u;
    for (var s = 0u; s < params.strips; s++) {
      let other = words[first_strip + s * params.width];
      word = select(word + other, max(word, other), STATISTIC != SUM);
    }
  } else {
    total = total_of(first_strip);
  }

  var mean = 0.0;
  if count > 0u {
    mean = total.sum / f32(count);
    if total.shrunk { mean = grown_mean(mean); }
  }
  var variance = 0.0;
  if STATISTIC == VARIANCE {
    sum = 0.0;
    small = 0.0;
    for (var i = strip; i < count; i += params.strips) {
      let difference = f32(x[source + i * params.inner]) - mean;
      let small_difference = scaled(difference, 0x1p-20f, zero);
      sum += difference * difference;
      small += small_difference * small_difference;
    }
    workgroupBarrier(); // wait until all have read the sums
    sums[lane.index] = sum;
    words[lane.index] = bitcast<u32>(small);
    workgroupBarrier();
    let squares = total_of(first_strip);
    if count > params.correction {
      variance = squares.sum / f32(count - params.correction);
      if squares.shrunk { variance = times_power(variance, -SHRINK); }
    }
  }

  if live && strip == 0u {
    var result = elem();
    if INTEGER == 1u {
      result = elem(select(word, ~word, smallest && count > 0u));
    } else if count > 0u {
      switch STATISTIC {
        case MEAN: { result = elem(mean); }
        case SUM: { result = elem(select(total.sum, times_power(total.sum, -SHRINK), total.shrunk)); }
        case VARIANCE: { result = elem(variance); }
        default: { result = elem(order_value(select(word, select(~word, KEY_NAN, word == KEY_NAN), smallest))); }
      }
    }
    reduced[params.reduced_base + outer * params.inner + column] = result;
  }
}
