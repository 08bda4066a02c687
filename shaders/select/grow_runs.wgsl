// Grows runs of consecutive tokens. A token joins if it is similar enough to all members of the run, on average.
//
//   token t joins the run before it iff  sum of cos(s, t) over the run's members s  >=  threshold * members
//   cos(s, t) = 1 - |unit[s] - unit[t]|^2 / 2, or 0 for zero rows
//
// unit:    [B, N, C] f32: rows of norm 1, or 0
// norm:    [B, N] f32; NaN for rows with a NaN or an infinity; each such row is a run of its own
// lengths: [B] u32; live tokens
// joins:   [B, N] u32; 1 if a token joins, 0 if it starts a run or is dead
// runs:    [B, 5] u32, scratch: the run at the end of a dispatch's tokens: its members, 1 if it is whole, members that point somewhere, anchor,
//          squares
// sums:    [B, C] f32, scratch: sum over the run's members of their difference from the first; one invocation has each channel
//
// Let d[s] be the difference of row s from the run's first row. Then the sum of |d[s] - d[t]|^2 is: sum of |d[s]|^2 - 2 d[t] . (sum of
// d[s]) + members |d[t]|^2. This is exactly 0 in a run of equal rows, whatever rounding they carry.
//
// One workgroup per batch row, or one invocation for a short row, one token after another. Sums are in f32. A run's sum is in token order.
// A sum over channels first adds channels 128 apart, as a workgroup's invocations have them, and then adds these partial sums in order.
//
// Cost: a dispatch for some hundred tokens; two reads of each row, and one sum over a workgroup for each token.

const PARTS = 128u; // partial sums of a sum over channels

@compute @workgroup_size(GROUP)
fn main(grid: Grid, lane: Lane) {
  let batch = team_row(grid, lane);
  if batch >= params.batch { return; }
  let live = team_uniform(lane, min(lengths[params.lengths_base + batch], params.tokens));
  let row = batch * params.tokens;
  let sum_at = params.sums_base + batch * params.channels;

  var members = 0u;
  var whole = false; // the run has no NaN or infinity
  var pointing = 0u; // members that are not zero rows
  var anchor = 0u; // the first of these members
  var squares = 0.0; // sum of the others' squared distances from it
  let run = params.runs_base + batch * 5u;
  if params.first > 0u {
    members = runs[run];
    whole = runs[run + 1u] == 1u;
    pointing = runs[run + 2u];
    anchor = runs[run + 3u];
    squares = bitcast<f32>(runs[run + 4u]);
  }
  for (var token = params.first; token < min(live, params.last); token++) {
    let length_bits = bitcast<u32>(norm[params.norm_base + row + token]) & 0x7fffffffu;
    let broken = length_bits > 0x7f800000u;
    let compared = length_bits != 0u && pointing > 0u;
    let source = params.unit_base + (row + token) * params.channels;
    let start = params.unit_base + (row + anchor) * params.channels;
    // With this token's difference from the anchor: its product with the members' sum, and its square.
    var apart_sums = vec2<f32>();
    if compared {
      for (var part = team_lane(lane); part < min(params.channels, PARTS); part += TEAM) {
        var of_part = vec2<f32>();
        for (var c = part; c < params.channels; c += PARTS) {
          let apart = unit[source + c] - unit[start + c];
          of_part += vec2<f32>(sums[sum_at + c], apart) * apart;
        }
        apart_sums += of_part;
      }
    }
    let both = team_add(lane, apart_sums);
    let product = both.x;
    var square = both.y;
    let count = f32(pointing);
    let total = select(0.0, count + (product - 0.5 * (squares + count * square)), compared);
    let joined = members > 0u && whole && !broken && total >= params.threshold * f32(members);
    if !joined {
      members = 0u;
      pointing = 0u;
      whole = !broken;
    }
    if length_bits != 0u {
      if pointing == 0u {
        anchor = token;
        squares = 0.0;
        square = 0.0;
      }
      for (var c = team_lane(lane); c < params.channels; c += TEAM) {
        var sum = 0.0;
        if pointing > 0u {
          sum = sums[sum_at + c] + (unit[source + c] - unit[start + c]);
        }
        sums[sum_at + c] = sum;
      }
      squares += square;
      pointing += 1u;
    }
    members += 1u;
    if team_lane(lane) == 0u {
      joins[params.joins_base + row + token] = select(0u, 1u, joined);
    }
  }
  for (var token = max(live, params.first) + team_lane(lane); token < params.last; token += TEAM) {
    joins[params.joins_base + row + token] = 0u;
  }
  if team_lane(lane) == 0u {
    runs[run] = members;
    runs[run + 1u] = select(0u, 1u, whole);
    runs[run + 2u] = pointing;
    runs[run + 3u] = anchor;
    runs[run + 4u] = bitcast<u32>(squares);
  }
}
