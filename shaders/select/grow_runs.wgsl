// Grows runs of tokens that are similar to all members of the run.
//
//   token t joins the run before it iff  sum of cos(s, t) over the run's members s  >=  threshold * members
//   cos(s, t) = 1 - |unit[s] - unit[t]|^2 / 2, or 0 for zero rows
//
// unit:    [B, N, C] f32: rows of norm 1, or 0
// norm:    [B, N] f32; NaN for rows with a NaN or an infinity, which are runs of their own
// lengths: [B] u32; live tokens
// joins:   [B, N] u32; 1 where a token joins, 0 where one starts a run or is dead
// sums:    [B, C] f32, scratch: sum of the run's members, each less the first; each channel is one invocation's
//
// With all rows less the first, d: sum of |d[s] - d[t]|^2 = sum of |d[s]|^2 - 2 d[t] . sum of d[s] + members |d[t]|^2, which is 0 in a run of
// equal rows, whatever was rounded in them.
//
// One workgroup a batch row, a token after the other. Sums are in f32: a run's in order, those over channels of each
// invocation's channels and then over invocations.
//
// Cost: one dispatch; each row is read twice, a sum over a workgroup for each token.

var<workgroup> length: u32;

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  lane: Lane,
) {
  let batch = linear_group(group, groups);
  if batch >= params.batch { return; }
  if lane.index == 0u {
    length = min(lengths[params.lengths_base + batch], params.tokens);
  }
  let live = workgroupUniformLoad(&length);
  let row = batch * params.tokens;
  let sum_at = params.sums_base + batch * params.channels;

  var members = 0u;
  var whole = false; // the run has no broken row
  var pointing = 0u; // members that are no zero rows
  var anchor = 0u; // the first of them
  var squares = 0.0; // of how far this invocation's channels of the others are from it
  for (var token = 0u; token < live; token++) {
    let length_bits = bitcast<u32>(norm[params.norm_base + row + token]) & 0x7fffffffu;
    let broken = length_bits > 0x7f800000u;
    let compared = length_bits != 0u && pointing > 0u;
    let source = params.unit_base + (row + token) * params.channels;
    let start = params.unit_base + (row + anchor) * params.channels;
    let half_count = 0.5 * f32(pointing);
    var part = 0.0;
    if compared {
      part = -0.5 * squares;
      for (var c = lane.index; c < params.channels; c += WG) {
        let apart = unit[source + c] - unit[start + c];
        part += (sums[sum_at + c] - half_count * apart) * apart;
      }
    }
    let total = reduce_add(lane, part) + select(0.0, f32(pointing), compared);
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
      }
      for (var c = lane.index; c < params.channels; c += WG) {
        var sum = 0.0;
        if pointing > 0u {
          let apart = unit[source + c] - unit[start + c];
          squares += apart * apart;
          sum = sums[sum_at + c] + apart;
        }
        sums[sum_at + c] = sum;
      }
      pointing += 1u;
    }
    members += 1u;
    if lane.index == 0u {
      joins[params.joins_base + row + token] = select(0u, 1u, joined);
    }
  }
  for (var token = live + lane.index; token < params.tokens; token += WG) {
    joins[params.joins_base + row + token] = 0u;
  }
}
