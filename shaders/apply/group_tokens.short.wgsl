// Groups the tokens by parent, for rows of at most 64 tokens. Each invocation takes one token and one output, and counts what comes before
// them.
//
// parent:  [B, N] u32; at or above N' (NONE): in no output
// offsets: [B, N' + 1] u32; output p has members[offsets[p] .. offsets[p + 1]]
// members: [B, N] u32, ascending within an output; NONE from offsets[N'] on
//
// Tokens of no output count as members of output N', which comes after all others. So every place is written once.
//
// Cost: all tokens and outputs of a row read each of its parents, from cache; one write of each output.

const NONE = 0xffffffffu;

@compute @workgroup_size(128)
fn main(grid: Grid, lane: Lane) {
  let width = max(params.tokens, params.outputs + 1u);
  let id = linear_group(grid) * 128u + lane.index;
  let batch = id / width;
  let entry = id % width; // both a token and an output
  if batch >= params.batch { return; }
  let tokens_at = params.parent_base + batch * params.tokens;

  var own = params.outputs;
  if entry < params.tokens {
    own = min(parent[tokens_at + entry], params.outputs);
  }
  var start = 0u; // tokens of lower outputs than `entry`
  var place = 0u; // tokens before `entry`
  for (var token = 0u; token < params.tokens; token++) {
    let p = min(parent[tokens_at + token], params.outputs);
    start += select(0u, 1u, p < entry);
    place += select(0u, 1u, p < own || (p == own && token < entry));
  }
  if entry <= params.outputs {
    offsets[params.offsets_base + batch * (params.outputs + 1u) + entry] = start;
  }
  if entry < params.tokens {
    members[params.members_base + batch * params.tokens + place] = select(NONE, entry, own < params.outputs);
  }
}
