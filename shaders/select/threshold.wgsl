// Marks the tokens whose score passes a threshold.
//
//   mask[b,i] = 1 if scores[b,i] > threshold[b] (or >=, <, <=) and among[b,i] is not 0; otherwise 0
//
// A protected token is 1, and an excluded or dead one is 0, whatever its score. Nothing passes if the score or the threshold is NaN. The
// comparison is of integers, so a device that flushes denormals does not change it.
//
// scores:    [B, N] elem
// threshold: [B] f32, or [1] for all rows
// lengths:   [B] u32; live tokens
// marks:     [B, N] u32, or [N] for all rows
// among:     [B, N] u32, or [N] for all rows
// mask:      [B, N] u32
//
// Cost: one dispatch; one read of each input, one write of the mask.

const PROTECTED = 1u;
const EXCLUDED = 2u;

@compute @workgroup_size(128)
fn main(grid: Grid, lane: Lane) {
  let i = linear_group(grid) * 128u + lane.index;
  if i < params.elements {
    let row = i / params.tokens;
    let token = i % params.tokens;
    let score = order_key(f32(scores[params.scores_base + i]));
    let limit = order_key(threshold[params.threshold_base + row * params.threshold_stride]);
    let above = select(score, limit, params.below != 0u);
    let under = select(limit, score, params.below != 0u);
    let numbers = score != KEY_NAN && limit != KEY_NAN;
    let passes = numbers && (above > under || (above == under && params.or_equal != 0u));
    let mark = marks[params.marks_base + row * params.marks_stride + token];
    let candidate = mark != EXCLUDED && passes && among[params.among_base + row * params.among_stride + token] != 0u;
    let live = token < lengths[params.lengths_base + row];
    mask[params.mask_base + i] = select(0u, 1u, live && (mark == PROTECTED || candidate));
  }
}
