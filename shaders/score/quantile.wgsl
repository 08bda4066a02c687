// Quantiles of sorted rows by linear interpolation, or the fence above which an entry is an outlier.
//
//   position   = p (n - 1)          in integers; n = min(lengths[b], N)
//   quantile_p = sorted[floor(position)] + (sorted[floor(position) + 1] - sorted[floor(position)]) (position - floor(position))
//   fence      = quantile_1 + factor (quantile_1 - quantile_0)          from the first two probabilities
//
// sorted:        [B, N] f32, ascending, NaN last
// lengths:       [B] u32
// probabilities: [Q, 2] u32, the high and the low half of p 2^63, for p in 0..=1
// quantiles:     [B, Q] f32; [B] for fences
//
// A row without entries gives 0. If both neighbours are equal, the quantile is exactly their value. If both quartiles are equal, the fence
// is exactly their value.
//
// Cost: two reads and one write per quantile.

// The quantile of `count` entries from `first` on; `count` is at least 1.
fn quantile(first: u32, count: u32, q: u32) -> f32 {
  let last = count - 1u;
  let high_half = probabilities[params.probabilities_base + 2u * q];
  let low_half = probabilities[params.probabilities_base + 2u * q + 1u];
  // The upper 64 bits of the 96-bit product. The lowest 31 of them are the fraction.
  let carried = multiply_high(low_half, last);
  let low_word = high_half * last + carried;
  let high_word = multiply_high(high_half, last) + select(0u, 1u, low_word < carried);
  let below = min((high_word << 1u) | (low_word >> 31u), last);
  let fraction = f32(low_word & 0x7fffffffu) / 2147483648.0;
  let low = sorted[first + below];
  let high = sorted[first + min(below + 1u, last)];
  return select(low + (high - low) * fraction, low, fraction <= 0.0 || low == high);
}

@compute @workgroup_size(128)
fn main(grid: Grid, lane: Lane) {
  let element = linear_group(grid) * 128u + lane.index;
  if element >= params.elements { return; }
  let batch = element / params.quantiles_of_row;
  let count = min(lengths[params.lengths_base + batch], params.entries);
  var result = 0.0;
  if count > 0u {
    let first = params.sorted_base + batch * params.entries;
    if params.fence == 1u {
      let upper = quantile(first, count, 1u);
      let lower = quantile(first, count, 0u);
      result = upper + params.factor * (upper - lower);
      // Equal quartiles, also infinite ones, give their own value.
      if lower == upper { result = upper; }
    } else {
      result = quantile(first, count, element % params.quantiles_of_row);
    }
  }
  quantiles[params.quantiles_base + element] = result;
}
