// The distance of every token and its partner.
//
//   d_c = |x[b,i,c] - x[b,previous[i],c]|
//   MEASURE 0: the largest d_c      1: the mean of d_c      2: the root of the mean of d_c^2
//
// x:        [B, N, C] elem, four channels per elem where C is a multiple of 4
// previous: [B, N] u32, or [N] for all rows
// lengths:  [B] u32; live tokens
// distance: [B, N] f32
//
// A pair with a NaN or an infinity gives NaN. A token without a live partner gives +infinity. A dead token gives 0. There are no ties.
// Sums are in f32. Each of 8 invocations takes every 8th elem, and their sums are added in their order.
//
// Cost: one dispatch; two row reads for each token, one of them mostly from cache.

override MEASURE: u32;

const LANES = 8u; // per row
const ROWS = 16u; // per workgroup
var<workgroup> parts: array<f32, 128>;
var<workgroup> broken: array<u32, 128>;

fn joined(a: f32, b: f32) -> f32 {
  return select(a + b, max(a, b), MEASURE == 0u);
}

// What the differences of one elem add.
fn part_of(apart: elem_f32) -> f32 {
  if MEASURE == 1u { return elem_dot(abs(apart), elem_f32(1.0)); }
  if MEASURE == 2u { return elem_dot(apart, apart); }
  var largest = 0.0;
  for (var i = 0u; i < ELEM_WIDTH; i++) {
    largest = max(largest, abs(elem_number(apart, i)));
  }
  return largest;
}

fn all_finite(numbers: elem_f32) -> bool {
  var finite = true;
  for (var i = 0u; i < ELEM_WIDTH; i++) {
    finite = finite && is_finite(elem_number(numbers, i));
  }
  return finite;
}

@compute @workgroup_size(128)
fn main(grid: Grid, lane: Lane) {
  let first = linear_group(grid) * ROWS;
  if first >= params.rows { return; }
  let in_row = lane.index % LANES;
  let row = first + lane.index / LANES;
  var live = false;
  var paired = false;
  var partner = 0u; // the partner's row
  if row < params.rows {
    let batch = row / params.tokens;
    let token = row % params.tokens;
    let length = min(lengths[params.lengths_base + batch], params.tokens);
    let other = previous[params.previous_base + batch * params.previous_stride + token];
    live = token < length;
    paired = live && other < length;
    partner = batch * params.tokens + min(other, params.tokens - 1u);
  }

  var part = 0.0;
  var is_broken = 0u;
  for (var c = in_row; c < select(0u, params.channels, paired); c += LANES) {
    let mine = elem_f32(x[params.x_base + row * params.channels + c]);
    let others = elem_f32(x[params.x_base + partner * params.channels + c]);
    if !all_finite(mine) || !all_finite(others) { is_broken = 1u; }
    part = joined(part, part_of(mine - others));
  }
  parts[lane.index] = part;
  broken[lane.index] = is_broken;
  workgroupBarrier();
  if in_row == 0u && row < params.rows {
    for (var i = 1u; i < LANES; i++) {
      part = joined(part, parts[lane.index + i]);
      is_broken |= broken[lane.index + i];
    }
    var result = part;
    if MEASURE != 0u { result = part / params.count; }
    if MEASURE == 2u { result = sqrt(result); }
    if is_broken != 0u { result = make_nan(); }
    if !paired { result = -make_negative_infinity(); }
    if !live { result = 0.0; }
    distance[params.distance_base + row] = result;
  }
}
