// The sum or the maximum of the weights that each key gets from a chunk of the query rows, from stored logits.
//
//   weight(r, j)        = logits[b,h,r,j], scaled and biased, or exp(that - largest[b,h,r]) / sum[b,h,r]
//   partials[s,b,h,j]   = sum (maximum) of weight(r, j) over the rows r of chunk s that see key j
//
// logits:        [B, heads, ceil(R / 16), ceil(N / 32), 16, 8] of four f32; unscaled; undefined where the row does not see the key
// lengths:       [B] u32; live keys
// query_lengths: [B] u32; live query rows
// bias:          [B, N] f32
// list:          [R] u32; the rows asked for
// sums:          [2, B, heads, R] f32; each row's largest logit, then the sums of exp(logit - largest); read for softmax only
// partials:      [S, B, heads, columns] f32; 0 for a sum, the lowest float for a maximum, if no row of the chunk sees the key
//
// The workspace is one buffer that holds inputs and outputs, so no binding can be read-only.
//
// Cost: one read of the logits (`parts/columns.wgsl`). The results equal those of `attention_score.columns.wgsl` bit for bit.

fn add_rows(lane: Lane, place: Place, r: u32, tile_key: u32, offset: vec4<f32>, key: vec4<u32>, totals: vec4<f32>) -> vec4<f32> {
  let facts = row_facts(lane, place, r);
  let at = kept_at(place, r, tile_key + tile_column(lane));
  var sums = totals;
  sums = add_row(sums, logits[at], offset, facts.r0, key);
  sums = add_row(sums, logits[at + 8u], offset, facts.r1, key);
  sums = add_row(sums, logits[at + 16u], offset, facts.r2, key);
  sums = add_row(sums, logits[at + 24u], offset, facts.r3, key);
  sums = add_row(sums, logits[at + 32u], offset, facts.r4, key);
  sums = add_row(sums, logits[at + 40u], offset, facts.r5, key);
  sums = add_row(sums, logits[at + 48u], offset, facts.r6, key);
  sums = add_row(sums, logits[at + 56u], offset, facts.r7, key);
  if TALL {
    sums = add_row(sums, logits[at + 64u], offset, facts.r8, key);
    sums = add_row(sums, logits[at + 72u], offset, facts.r9, key);
    sums = add_row(sums, logits[at + 80u], offset, facts.r10, key);
    sums = add_row(sums, logits[at + 88u], offset, facts.r11, key);
    sums = add_row(sums, logits[at + 96u], offset, facts.r12, key);
    sums = add_row(sums, logits[at + 104u], offset, facts.r13, key);
    sums = add_row(sums, logits[at + 112u], offset, facts.r14, key);
    sums = add_row(sums, logits[at + 120u], offset, facts.r15, key);
  }
  return sums;
}
