// 8 x 8 matrices: 16 of results for each subgroup. Metal reads matrices from single numbers only.
// [64 rows, then 64 columns, FOURS of four] and [32, PAIRS of two]. The last row has no padding.
var<workgroup> slices: array<f16, 5112>;
var<workgroup> results: array<f32, 1272>;
const STRIDE = 4u * FOURS;
const RESULTS_STRIDE = 2u * PAIRS;

fn keep(at: u32, four: vec4<f16>) {
  slices[4u * at] = four.x;
  slices[4u * at + 1u] = four.y;
  slices[4u * at + 2u] = four.z;
  slices[4u * at + 3u] = four.w;
}

fn result_pair(at: u32) -> vec2<f32> {
  return vec2<f32>(results[2u * at], results[2u * at + 1u]);
}

fn put_result(at: u32, number: f32) {
  results[at] = number;
}

fn result_number(at: u32) -> f32 {
  return results[at];
}

// Dot products of the invocation's rows from `row` on with four columns from `column` on. Call in uniform control flow.
fn dot_tile(lane: Lane, place: Place, row: u32, column: u32, elems: u32) -> Tile {
  if params.channels == 0u { return Tile(); }
  let firsts = firsts_of(lane, place, row, column);
  let quarter = lane.subgroup % 4u;
  // The first slice is the one that is not whole. The fetch behind the last slice repeats that slice.
  let rest = (params.channels - 1u) % SLICE + 1u;
  let own = lane.index % 8u * 4u / ELEM_WIDTH;
  let stop = max(params.channels, SLICE) - SLICE + own;
  let first_slice = opening(firsts, own, rest);
  workgroupBarrier(); // wait until the previous tile's last slice has been read
  keep_all(lane, first_slice);
  workgroupBarrier();
  var k = rest + own;
  var c00 = coop_mat8x8<f32, C>();
  var c01 = coop_mat8x8<f32, C>();
  var c02 = coop_mat8x8<f32, C>();
  var c03 = coop_mat8x8<f32, C>();
  var c10 = coop_mat8x8<f32, C>();
  var c11 = coop_mat8x8<f32, C>();
  var c12 = coop_mat8x8<f32, C>();
  var c13 = coop_mat8x8<f32, C>();
  var c20 = coop_mat8x8<f32, C>();
  var c21 = coop_mat8x8<f32, C>();
  var c22 = coop_mat8x8<f32, C>();
  var c23 = coop_mat8x8<f32, C>();
  var c30 = coop_mat8x8<f32, C>();
  var c31 = coop_mat8x8<f32, C>();
  var c32 = coop_mat8x8<f32, C>();
  var c33 = coop_mat8x8<f32, C>();
  for (var done = 0u; done < params.channels; done += SLICE) {
    let next = fetched(firsts, min(k, stop));
    k += SLICE;
    for (var n = 0u; n < 32u; n += 8u) {
      let rows = quarter / 2u * 32u * STRIDE + n;
      let columns = (COLUMNS + quarter % 2u * 32u) * STRIDE + n;
      let a0 = coopLoadT<coop_mat8x8<f16, A>>(&slices[rows], STRIDE);
      let a1 = coopLoadT<coop_mat8x8<f16, A>>(&slices[rows + 8u * STRIDE], STRIDE);
      let a2 = coopLoadT<coop_mat8x8<f16, A>>(&slices[rows + 16u * STRIDE], STRIDE);
      let a3 = coopLoadT<coop_mat8x8<f16, A>>(&slices[rows + 24u * STRIDE], STRIDE);
      let b0 = coopLoad<coop_mat8x8<f16, B>>(&slices[columns], STRIDE);
      let b1 = coopLoad<coop_mat8x8<f16, B>>(&slices[columns + 8u * STRIDE], STRIDE);
      let b2 = coopLoad<coop_mat8x8<f16, B>>(&slices[columns + 16u * STRIDE], STRIDE);
      let b3 = coopLoad<coop_mat8x8<f16, B>>(&slices[columns + 24u * STRIDE], STRIDE);
      c00 = coopMultiplyAdd(a0, b0, c00);
      c01 = coopMultiplyAdd(a0, b1, c01);
      c02 = coopMultiplyAdd(a0, b2, c02);
      c03 = coopMultiplyAdd(a0, b3, c03);
      c10 = coopMultiplyAdd(a1, b0, c10);
      c11 = coopMultiplyAdd(a1, b1, c11);
      c12 = coopMultiplyAdd(a1, b2, c12);
      c13 = coopMultiplyAdd(a1, b3, c13);
      c20 = coopMultiplyAdd(a2, b0, c20);
      c21 = coopMultiplyAdd(a2, b1, c21);
      c22 = coopMultiplyAdd(a2, b2, c22);
      c23 = coopMultiplyAdd(a2, b3, c23);
      c30 = coopMultiplyAdd(a3, b0, c30);
      c31 = coopMultiplyAdd(a3, b1, c31);
      c32 = coopMultiplyAdd(a3, b2, c32);
      c33 = coopMultiplyAdd(a3, b3, c33);
    }
    // Also after the last slice: a branch here would let compilers put the loads behind it, where nothing hides the time that they take.
    workgroupBarrier(); // wait until this slice has been read
    keep_all(lane, next);
    workgroupBarrier();
  }
  let at = quarter / 2u * 16u * RESULTS_STRIDE + quarter % 2u * 16u;
  coopStoreT(c00, &results[at], RESULTS_STRIDE);
  coopStoreT(c01, &results[at + 8u], RESULTS_STRIDE);
  coopStoreT(c10, &results[at + 8u * RESULTS_STRIDE], RESULTS_STRIDE);
  coopStoreT(c11, &results[at + 8u + 8u * RESULTS_STRIDE], RESULTS_STRIDE);
  workgroupBarrier();
  let upper_left = result_part(lane);
  workgroupBarrier(); // wait until the previous part has been read
  coopStoreT(c02, &results[at], RESULTS_STRIDE);
  coopStoreT(c03, &results[at + 8u], RESULTS_STRIDE);
  coopStoreT(c12, &results[at + 8u * RESULTS_STRIDE], RESULTS_STRIDE);
  coopStoreT(c13, &results[at + 8u + 8u * RESULTS_STRIDE], RESULTS_STRIDE);
  workgroupBarrier();
  let upper_right = result_part(lane);
  workgroupBarrier(); // wait until the previous part has been read
  coopStoreT(c20, &results[at], RESULTS_STRIDE);
  coopStoreT(c21, &results[at + 8u], RESULTS_STRIDE);
  coopStoreT(c30, &results[at + 8u * RESULTS_STRIDE], RESULTS_STRIDE);
  coopStoreT(c31, &results[at + 8u + 8u * RESULTS_STRIDE], RESULTS_STRIDE);
  workgroupBarrier();
  let lower_left = result_part(lane);
  workgroupBarrier(); // wait until the previous part has been read
  coopStoreT(c22, &results[at], RESULTS_STRIDE);
  coopStoreT(c23, &results[at + 8u], RESULTS_STRIDE);
  coopStoreT(c32, &results[at + 8u * RESULTS_STRIDE], RESULTS_STRIDE);
  coopStoreT(c33, &results[at + 8u + 8u * RESULTS_STRIDE], RESULTS_STRIDE);
  workgroupBarrier();
  let lower_right = result_part(lane);
  return tile_of(upper_left, upper_right, lower_left, lower_right);
}
