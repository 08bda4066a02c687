// The cosine of every token and its partner.
//
//   similarity[b,i] = unit[b,i] . unit[b,previous[i]], at least -1
//                     near 1: 1 - |unit[b,i] - unit[b,previous[i]]|^2 / 2, which is 1 for equal rows and never more
//
// unit:       [B, N, C] elem f32, four channels per elem where C is a multiple of 4: rows of norm 1, or 0
// norm:       [B, N] f32; NaN for rows with a NaN or an infinity
// previous:   [B, N] u32, or [N] for all rows
// lengths:    [B] u32; live tokens
// similarity: [B, N] f32
//
// A pair with a NaN row gives NaN. A token without a live partner gives -infinity. A dead token gives 0.
// Sums are in f32. Each of 8 invocations takes every 8th elem, and their sums are added in their order.
//
// Cost: one dispatch; two row reads for each token, one of them mostly from cache.

const LANES = 8u; // per row
const ROWS = 16u; // per workgroup
const NEAR = 0.984375; // 1 - 2^-6
var<workgroup> sums: array<f32, 128>;
var<workgroup> squares: array<f32, 128>;

fn is_nan(value: f32) -> bool {
  return (bitcast<u32>(value) & 0x7fffffffu) > 0x7f800000u;
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

  // Both sums share their loads, which take most of the time.
  var sum = 0.0;
  var square = 0.0;
  for (var c = in_row; c < select(0u, params.channels, paired); c += LANES) {
    let mine = unit[params.unit_base + row * params.channels + c];
    let others = unit[params.unit_base + partner * params.channels + c];
    sum += elem_dot(mine, others);
    square += elem_dot(mine - others, mine - others);
  }
  sums[lane.index] = sum;
  squares[lane.index] = square;
  workgroupBarrier();
  if in_row == 0u && row < params.rows {
    for (var i = 1u; i < LANES; i++) {
      sum += sums[lane.index + i];
      square += squares[lane.index + i];
    }
    sum = select(max(sum, -1.0), 1.0 - 0.5 * square, sum >= NEAR);
    if is_nan(norm[params.norm_base + row]) || is_nan(norm[params.norm_base + partner]) {
      sum = make_nan();
    }
    if !paired {
      sum = make_negative_infinity();
    }
    if !live {
      sum = 0.0;
    }
    similarity[params.similarity_base + row] = sum;
  }
}
