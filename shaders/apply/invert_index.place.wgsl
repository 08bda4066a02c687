// Second pass of two: inverse[b, index[b, m]] is the lowest such m. Indices of `tokens` or more (this includes NONE) are skipped. A minimum
// does not depend on the order of the invocations.
//
// index:   [batch, entries] u32
// inverse: [batch, tokens] u32, NONE where no index points
//
// Cost: one read of the index, one atomic for each entry.

@compute @workgroup_size(128)
fn main(grid: Grid, lane: Lane) {
  let i = linear_group(grid) * 128u + lane.index;
  if i < params.elements {
    let batch = i / params.entries;
    let token = index[params.index_base + i];
    if token < params.tokens {
      atomicMin(&inverse[params.inverse_base + batch * params.tokens + token], i - batch * params.entries);
    }
  }
}
