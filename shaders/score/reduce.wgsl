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
// A float sum is made of `strips` interleaved sums, each in ascending order. Their number depends on inner alone. A strip that leaves f32's
// range is summed again with smaller terms, and so is the sum of the strips. So a result is infinite only if the exact result lies outside
// the range.
//
// Cost: one read of x, two for a variance; neighbouring invocations read neighbouring elements.

const MEAN = 0u;
const SUM = 1u;
const MAX = 2u;
const MIN = 3u;
const VARIANCE = 4u;

var<workgroup> sums: array<f32, 128>;
var<workgroup> words: array<u32, 128>; // integer sums, or keys, or 1 if the strip's sum has shrunk terms

// The sum of an output's strips. It is shrunk only if some part leaves the range.
struct Total {
  sum: f32,
  shrunk: bool,
}

fn total_of(first_strip: u32, shrunk_strips: u32) -> Total {
  var sum = 0.0;
  for (var s = 0u; s < params.strips; s++) {
    sum += sums[first_strip + s * params.width];
  }
  let shrunk = shrunk_strips != 0u || !is_finite(sum);
  if shrunk {
    sum = 0.0;
    for (var s = 0u; s < params.strips; s++) {
      let strip = first_strip + s * params.width;
      sum += times_power(sums[strip], select(SHRINK, 0, words[strip] == 1u));
    }
  }
  return Total(sum, shrunk);
}

@compute @workgroup_size(128)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  lane: Lane,
) {
  // A team reduces a tile, with `strips` invocations for each output.
  let team_size = params.width * params.strips;
  let teams = 128u / team_size;
  let first = linear_group(group, groups) * teams;
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
  let smallest = params.statistic == MIN;

  var sum = 0.0;
  var word = 0u;
  for (var i = strip; i < count; i += params.strips) {
    let value = x[source + i * params.inner];
    if params.statistic == MAX || smallest {
      var key = u32(value);
      if params.integer == 0u {
        key = order_key(f32(value));
        // Reversed for a minimum. NaN still stays lowest.
        key = select(key, select(~key, KEY_NAN, key == KEY_NAN), smallest);
      } else {
        key = select(key, ~key, smallest);
      }
      word = max(word, key);
    } else if params.integer == 1u {
      word += u32(value);
    } else {
      sum += f32(value);
    }
  }
  if !is_finite(sum) {
    sum = 0.0;
    word = 1u;
    for (var i = strip; i < count; i += params.strips) {
      sum += times_power(f32(x[source + i * params.inner]), SHRINK);
    }
  }
  sums[lane.index] = sum;
  words[lane.index] = word;
  workgroupBarrier();
  // Every invocation of an output adds its strips in the same order.
  let first_strip = lane.index - strip * params.width;
  word = 0u;
  for (var s = 0u; s < params.strips; s++) {
    let other = words[first_strip + s * params.width];
    word = select(word + other, max(word, other), params.statistic >= MAX);
  }
  let summed = params.integer == 0u && params.statistic != MAX && !smallest;
  let total = total_of(first_strip, select(0u, word, summed));

  var mean = 0.0;
  if count > 0u {
    mean = total.sum / f32(count);
    if total.shrunk { mean = grown_mean(mean); }
  }
  var variance = 0.0;
  if params.statistic == VARIANCE {
    var squares = 0.0;
    for (var i = strip; i < count; i += params.strips) {
      let difference = f32(x[source + i * params.inner]) - mean;
      squares += difference * difference;
    }
    word = 0u;
    if !is_finite(squares) {
      squares = 0.0;
      word = 1u;
      for (var i = strip; i < count; i += params.strips) {
        let difference = times_power(f32(x[source + i * params.inner]) - mean, SHRINK / 2);
        squares += difference * difference;
      }
    }
    workgroupBarrier(); // wait until all have read the sums
    sums[lane.index] = squares;
    words[lane.index] = word;
    workgroupBarrier();
    word = 0u;
    for (var s = 0u; s < params.strips; s++) {
      word |= words[first_strip + s * params.width];
    }
    let all_squares = total_of(first_strip, word);
    if count > params.correction {
      variance = all_squares.sum / f32(count - params.correction);
      if all_squares.shrunk { variance = times_power(variance, -SHRINK); }
    }
  }

  if live && strip == 0u {
    var result = elem();
    if params.integer == 1u {
      result = elem(select(word, ~word, smallest && count > 0u));
    } else if count > 0u {
      switch params.statistic {
        case MEAN: { result = elem(mean); }
        case SUM: {
        var sum = total.sum;
        if total.shrunk { sum = times_power(sum, -SHRINK); }
        result = elem(sum);
      }
        case VARIANCE: { result = elem(variance); }
        default: { result = elem(order_value(select(word, select(~word, KEY_NAN, word == KEY_NAN), smallest))); }
      }
    }
    reduced[params.reduced_base + outer * params.inner + column] = result;
  }
}
