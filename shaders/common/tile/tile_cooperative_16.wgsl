// 16 x 16 matrices: four of results for each subgroup.
// [64 rows, then 64 columns, FOURS] and [32, PAIRS]. The last row has no padding.
var<workgroup> slices: array<vec4<f16>, 1278>;
var<workgroup> results: array<vec2<f32>, 636>;

fn keep(at: u32, four: vec4<f16>) {
  slices[at] = four;
}

fn result_pair(at: u32) -> vec2<f32> {
  return results[at];
}

fn put_result(at: u32, number: f32) {
  results[at / 2u][at % 2u] = number;
}

fn result_number(at: u32) -> f32 {
  return results[at / 2u][at % 2u];
}

// Dot products of the invocation's rows from `row` on with four columns from `column` on. Call in uniform control flow.
fn dot_tile(lane: Lane, place: Place, row: u32, column: u32, elems: u32) -> Tile {
  if params.channels == 0u { return Tile(); }
  let firsts = firsts_of(lane, place, row, column);
  let quarter = lane.subgroup % 4u;
  let rows = quarter / 2u * 32u * FOURS;
  let columns = (COLUMNS + quarter % 2u * 32u) * FOURS;
  // The first slice is the one that is not whole. The fetch behind the last slice repeats that slice.
  let rest = (params.channels - 1u) % SLICE + 1u;
  let own = lane.index % 8u * 4u / ELEM_WIDTH;
  let stop = max(params.channels, SLICE) - SLICE + own;
  let first_slice = opening(firsts, own, rest);
  workgroupBarrier(); // wait until the previous tile's last slice has been read
  keep_all(lane, first_slice);
  workgroupBarrier();
  var k = rest + own;
  var c0 = coop_mat16x16<f32, C>();
  var c1 = coop_mat16x16<f32, C>();
  var c2 = coop_mat16x16<f32, C>();
  var c3 = coop_mat16x16<f32, C>();
  for (var done = 0u; done < params.channels; done += SLICE) {
    let next = fetched(firsts, min(k, stop));
    k += SLICE;
    let a0 = coopLoadT<coop_mat16x16<f16, A>>(&slices[rows], FOURS);
    let a1 = coopLoadT<coop_mat16x16<f16, A>>(&slices[rows + 16u * FOURS], FOURS);
    let b0 = coopLoad<coop_mat16x16<f16, B>>(&slices[columns], FOURS);
    let b1 = coopLoad<coop_mat16x16<f16, B>>(&slices[columns + 16u * FOURS], FOURS);
    c0 = coopMultiplyAdd(a0, b0, c0);
    c1 = coopMultiplyAdd(a0, b1, c1);
    c2 = coopMultiplyAdd(a1, b0, c2);
    c3 = coopMultiplyAdd(a1, b1, c3);
    let a2 = coopLoadT<coop_mat16x16<f16, A>>(&slices[rows + 4u], FOURS);
    let a3 = coopLoadT<coop_mat16x16<f16, A>>(&slices[rows + 16u * FOURS + 4u], FOURS);
    let b2 = coopLoad<coop_mat16x16<f16, B>>(&slices[columns + 4u], FOURS);
    let b3 = coopLoad<coop_mat16x16<f16, B>>(&slices[columns + 16u * FOURS + 4u], FOURS);
    c0 = coopMultiplyAdd(a2, b2, c0);
    c1 = coopMultiplyAdd(a2, b3, c1);
    c2 = coopMultiplyAdd(a3, b2, c2);
    c3 = coopMultiplyAdd(a3, b3, c3);
    // Also after the last slice: a branch here would let compilers put the loads behind it, where nothing hides the time that they take.
    workgroupBarrier(); // wait until this slice has been read
    keep_all(lane, next);
    workgroupBarrier();
  }
  let at = quarter / 2u * 16u * PAIRS + quarter % 2u * 8u;
  coopStoreT(c0, &results[at], PAIRS);
  workgroupBarrier();
  let upper_left = result_part(lane);
  workgroupBarrier(); // wait until the previous part has been read
  coopStoreT(c1, &results[at], PAIRS);
  workgroupBarrier();
  let upper_right = result_part(lane);
  workgroupBarrier(); // wait until the previous part has been read
  coopStoreT(c2, &results[at], PAIRS);
  workgroupBarrier();
  let lower_left = result_part(lane);
  workgroupBarrier(); // wait until the previous part has been read
  coopStoreT(c3, &results[at], PAIRS);
  workgroupBarrier();
  let lower_right = result_part(lane);
  return tile_of(upper_left, upper_right, lower_left, lower_right);
}
