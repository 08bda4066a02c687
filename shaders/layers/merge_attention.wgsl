// Merges two attentions of the same rows over disjoint sets of keys into one attention over all the keys.
//
//   largest = max(first_lse, second_lse),     w = exp(lse - largest) of each
//   rows    = (w_1 first + w_2 second) / (w_1 + w_2),     lse = largest + ln(w_1 + w_2)
//
// first, second:         [B, H, M, V] elem, or [B, M, H, V], as `heads_last` says
// first_lse, second_lse: [B, H, M] f32; negative infinity where a row saw nothing
// rows:                  as `first`; 0 if neither saw anything; if only one did, that one bit for bit
// lse:                   [B, H, M] f32; negative infinity if neither saw anything
//
// If a row saw nothing, its contents do not matter. If it saw something, its infinities and NaNs are in the result, however small its
// weight. A NaN log-sum-exp makes the row NaN.
//
// Cost: one read and one write of each element.

// The weights of two rows, their sum `total`, and the larger log-sum-exp.
struct Weights {
  first: f32,
  second: f32,
  total: f32,
  largest: f32,
}

// A row that saw nothing has no weight.
fn weight_of(value: f32, largest: f32) -> f32 {
  return select(exponential(vec4<f32>(value - largest)).x, 0.0, bitcast<u32>(value) == HIDDEN);
}

fn weights_of(row: u32) -> Weights {
  let a = first_lse[params.first_lse_base + row];
  let b = second_lse[params.second_lse_base + row];
  let largest = max(max(LOWEST, marked_f32(a)), marked_f32(b));
  let of_first = weight_of(a, largest);
  let of_second = weight_of(b, largest);
  return Weights(of_first, of_second, of_first + of_second, largest);
}

fn taken(weight: f32, value: elem_f32) -> elem_f32 {
  return select(weight * value, elem_f32(), weight == 0.0);
}

@compute @workgroup_size(128)
fn main(grid: Grid, lane: Lane) {
  let i = linear_group(grid) * 128u + lane.index;
  if i < params.lses {
    let weights = weights_of(i);
    // If the other has no weight, the larger log-sum-exp is the result, unchanged.
    let sum = select(log_sum(weights.largest, weights.total), weights.largest, weights.total == 1.0);
    lse[params.lse_base + i] = sum;
  }
  if i < params.elements {
    var row = i / params.channels;
    if params.heads_last == 1u {
      let head = row % params.heads;
      let query = row / params.heads % params.queries;
      row = (row / params.heads / params.queries * params.heads + head) * params.queries + query;
    }
    let weights = weights_of(row);
    let a = elem_f32(first[params.first_base + i]);
    let b = elem_f32(second[params.second_base + i]);
    let sum = taken(weights.first, a) + taken(weights.second, b);
    let factor = unless_spoilt(select(1.0 / weights.total, 0.0, weights.total == 0.0), weights.largest);
    var result = select(sum * factor, sum, weights.total == 1.0);
    // Copies the row. A sum might flush a denormal to 0.
    if bitcast<u32>(weights.largest) != SPOILT {
      result = select(result, a, weights.second == 0.0 && weights.first == 1.0);
      result = select(result, b, weights.first == 0.0 && weights.second == 1.0);
    }
    rows[params.rows_base + i] = elem(result);
  }
}
