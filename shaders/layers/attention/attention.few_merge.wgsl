// Softmax attention of few query rows, second pass: merges the chunks of `attention.few.wgsl`, in ascending order.
//
//   largest = max_c largest[c],     w[c] = exp(largest[c] - largest),     total = sum_c w[c] total[c]
//   out     = sum_c w[c] partial[c] / total,     lse = largest + ln(256 total)
//
// partial: [B, H, M, chunks, V] elem_f32
// facts:   [B, H, M, chunks, 2] f32; largest and total; a total of 0 if the row sees none of the chunk's keys
// out:     [B, H, M, V] elem, or [B, M, H, V], as the strides say; 0 if the row sees nothing, NaN if a logit that it sees is NaN
// lse:     [B, H, M] f32, if asked for; negative infinity if the row sees nothing, NaN if a logit that it sees is NaN
//
// Cost: one read of each part. An invocation makes one elem.

// What a chunk adds to a row. A chunk that the row does not see adds nothing, and is not defined.
fn taken(weight: f32, value: elem_f32) -> elem_f32 {
  return select(weight * value, elem_f32(), weight == 0.0);
}

@compute @workgroup_size(64)
fn main(grid: Grid, lane: Lane) {
  let i = linear_group(grid) * 64u + lane.index;
  if i >= params.groups { return; }
  let channel = i % params.value_channels;
  let of_all = i / params.value_channels;
  let first = of_all * params.chunks;
  var largest = LOWEST;
  for (var chunk = 0u; chunk < params.chunks; chunk++) {
    largest = max(largest, facts[params.facts_base + (first + chunk) * 2u]);
  }
  var total = 0.0;
  var sum = elem_f32();
  for (var chunk = 0u; chunk < params.chunks; chunk++) {
    let of_chunk = facts[params.facts_base + (first + chunk) * 2u];
    let weights = facts[params.facts_base + (first + chunk) * 2u + 1u];
    // The exponential is rounded, so it is not applied to the largest.
    let scale = select(exponential(vec4<f32>(of_chunk - largest)).x, 1.0, of_chunk == largest);
    let factor = select(scale, 0.0, weights == 0.0);
    total += factor * weights;
    sum += taken(factor, partial[params.partial_base + (first + chunk) * params.value_channels + channel]);
  }
  let row = of_all % params.query_count;
  let head = of_all / params.query_count % params.heads;
  let batch = of_all / params.query_count / params.heads;
  let factor = unless_spoilt(select(1.0 / total, 0.0, total == 0.0), largest);
  let at = batch * params.heads * params.query_count * params.value_channels + head * params.out_head + row * params.out_row + channel;
  out[params.out_base + at] = elem(select(sum * factor, elem_f32(), factor == 0.0));
  if (params.with_lse == 1u) & (channel == 0u) {
    lse[params.lse_base + of_all] = log_sum(largest, total * 256.0);
  }
}
