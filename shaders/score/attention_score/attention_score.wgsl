// The importance of keys: the attention that they receive, reduced over query rows, then over heads. This is the last pass.
//
//   score[b,(h,)j] = heads_h rows_r weight[b,h,r,j],   weight = logit, scaled logit, or exp(scaled logit - largest[b,h,r]) / sum[b,h,r]
//   lse[b,h,r]        = largest[b,h,r] + ln sum[b,h,r]
//
// parts:         [B, heads, R, N] f32, the unscaled logits of few rows (stored = 1), or
//                [S, B, heads, columns] f32, sums or maxima of the weights over chunks of rows (stored = 0)
// sums:          [2, B, heads, R] f32; each row's largest logit, then the sums of exp(logit - largest); read for softmax of stored logits,
//                and for the log-sum-exp
// lengths:       [B] u32; live keys
// query_lengths: [B] u32; live query rows
// bias:          [B, N] f32
// list:          [R] u32; the rows asked for
// score:         [B, columns] f32; kept heads and kept rows are further dimensions before the columns; 0 for keys that are dead, hidden by
//                their bias, or seen by no row
// lse:           [B, heads, R] f32, if asked for; negative infinity if a row is dead or sees nothing
//
// In a maximum a NaN wins.
//
// Cost: one read of the parts. An invocation makes one score. It sums over heads, then over rows or chunks, in ascending order.

const SOFTMAX = 2u;
const MAGNITUDE = 3u; // as 0 without a scale and a bias
// Row reductions.
const MEAN = 0u;
const MEAN_VISIBLE = 1u;
const MAXIMUM = 3u;
const ROWS_KEPT = 4u;
// Head reductions.
const HEADS_MEAN = 0u;
const HEADS_MAXIMUM = 2u;
const HEADS_KEPT = 4u;

@compute @workgroup_size(128)
fn main(grid: Grid, lane: Lane) {
  let i = linear_group(grid) * 128u + lane.index;
  let sum_first = params.sums_base + params.batch * params.heads * params.rows;
  if i < params.lse_rows {
    lse[params.lse_base + i] = log_sum(sums[params.sums_base + i], sums[sum_first + i]);
  }
  let kept = select(1u, params.pick_count, params.head_reduction == HEADS_KEPT);
  let kept_rows = select(1u, params.rows, params.row_reduction == ROWS_KEPT);
  let column = i % params.columns;
  let batch = i / params.columns / kept_rows / kept;
  if (params.columns == 0u) | (batch >= params.batch) { return; } // no barrier follows
  let j = params.column_first + column;
  let live_keys = min(lengths[params.lengths_base + batch], params.key_count);
  let live_queries = min(query_lengths[params.query_lengths_base + batch], params.query_count);

  // The number of live rows, and the number of rows that see this key.
  var live_rows = live_queries;
  var seeing = select(live_queries, min(live_queries, live_keys - min(live_keys, j)), params.causal == 1u);
  if params.every_row == 0u {
    live_rows = 0u;
    seeing = 0u;
    for (var r = 0u; r < params.rows; r++) {
      let row = query_row(r, live_queries);
      live_rows += select(0u, 1u, row < live_queries);
      seeing += select(0u, 1u, j < visible_keys(row, live_queries, live_keys));
    }
  }
  var offset = 0.0;
  if params.biased == 1u { offset = bias[params.bias_base + batch * params.key_count + j]; }
  if j >= live_keys || seeing == 0u || params.pick_count == 0u || bitcast<u32>(offset) == HIDDEN {
    score[params.score_base + i] = 0.0;
    return;
  }

  var head = params.pick_first;
  var head_end = head + params.pick_count;
  if params.head_reduction == HEADS_KEPT {
    head += i / params.columns / kept_rows % kept;
    head_end = head + 1u;
  }
  // A row that is kept is a part of its own.
  let first_part = select(0u, i / params.columns % kept_rows, params.row_reduction == ROWS_KEPT);
  let end_part = select(params.parts_count, first_part + 1u, params.row_reduction == ROWS_KEPT);
  let rows_maximum = params.row_reduction == MAXIMUM;
  let heads_maximum = params.head_reduction == HEADS_MAXIMUM;
  var total = select(0.0, LOWEST, heads_maximum);
  for (; head < head_end; head++) {
    var of_head = select(0.0, LOWEST, rows_maximum);
    for (var part = first_part; part < end_part; part++) {
      var value: f32;
      if params.stored == 1u {
        if j >= visible_keys(query_row(part, live_queries), live_queries, live_keys) { continue; }
        let r = (batch * params.heads + head) * params.rows + part;
        value = parts[params.parts_base + r * params.key_count + j];
        if params.norm % MAGNITUDE != 0u { value = params.scale * value + offset; }
        value = saturated_f32(value);
        if params.norm == MAGNITUDE { value = abs(value); }
        if params.norm == SOFTMAX { value = exp(value - sums[params.sums_base + r]) * (1.0 / sums[sum_first + r]); }
      } else {
        value = parts[params.parts_base + ((part * params.batch + batch) * params.heads + head) * params.columns + column];
      }
      if rows_maximum { of_head = max(of_head, marked_f32(value)); } else { of_head += value; }
    }
    if rows_maximum { of_head = unless_spoilt(of_head, of_head); }
    if params.row_reduction == MEAN { of_head /= f32(live_rows); }
    if params.row_reduction == MEAN_VISIBLE { of_head /= f32(seeing); }
    if heads_maximum { total = max(total, marked_f32(saturated_f32(of_head))); } else { total += of_head; }
  }
  if heads_maximum { total = unless_spoilt(total, total); }
  if params.head_reduction == HEADS_MEAN { total /= f32(params.pick_count); }
  score[params.score_base + i] = total;
}
