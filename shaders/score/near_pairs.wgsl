// Which pairs of tokens are near, as bits, and how many each token has.
//
//   bit j of pairs[i] = unit_i . unit_j > threshold, or >= for OR_EQUAL 1; for i != j, both live and without NaN
//   degree[i] = the bits of pairs[i]
//   last[i] = the highest of them
//
// unit:    [B, N, C] f32, C / 4 elems of four numbers where C is a multiple of 4: rows of norm 1, or 0
// norm:    [B, N] f32; NaN for rows with a NaN or an infinity
// lengths: [B] u32; tokens from it on are dead
// pairs:   [B, N, ceil(N / 32)] u32; bit j % 32 of word j / 32
// degree:  [B, N] u32
// last:    [B, N] u32; NONE for a token that is near no other
//
// A workgroup has 64 tokens and walks over all 64 at a time. An invocation has four of the tokens, and 16 of every 64 others, or eight in the
// form for GPUs. There are no ties.
//
// Cost: 2 N^2 C operations, N^2 / 8 bytes written. 64 tokens share one read of the others' rows, and 64 others one of theirs.

override OR_EQUAL: u32;

const NONE = 0xffffffffu;

const PARTS = 64u / TILE_ROWS; // of 64 others

// Bits of the invocations' others: [token, part of the others].
var<workgroup> bits_of_part: array<u32, 4u * TILE_LANES>;
var<workgroup> alive: u32;

struct Place {
  batch: u32,
  live: u32,
}

fn row_first(place: Place, token: u32) -> u32 {
  return params.unit_base + (place.batch * params.tokens + min(token, params.tokens - 1u)) * params.channels;
}

fn row_elem(at: u32) -> elem_f32 {
  return unit[at];
}

fn column_first(place: Place, token: u32) -> u32 {
  return row_first(place, token);
}

fn column_elem(at: u32) -> elem_f32 {
  return unit[at];
}

// 1 for a token that may be near another.
alias Fact = u32;

fn row_fact(place: Place, token: u32) -> Fact {
  let bits = bitcast<u32>(norm[params.norm_base + place.batch * params.tokens + min(token, params.tokens - 1u)]);
  return select(0u, 1u, token < place.live && (bits & 0x7fffffffu) <= 0x7f800000u);
}

// The bits with that of row `at` of the invocation, whose cosines with its four tokens these are.
fn after(bits: vec4<u32>, cosines: vec4<f32>, fact: Fact, at: u32) -> vec4<u32> {
  let limit = vec4<f32>(params.threshold);
  let near = (cosines > limit) | (vec4<bool>(OR_EQUAL == 1u) & (cosines == limit));
  return bits | select(vec4<u32>(), vec4<u32>(fact << at), near);
}

@compute @workgroup_size(TILE_LANES)
fn main(grid: Grid, lane: Lane) {
  let id = linear_group(grid);
  if id >= params.tiles { return; }
  let tiles_of_row = (params.tokens + 63u) / 64u;
  let batch = id / tiles_of_row;
  let first_token = id % tiles_of_row * 64u;
  if lane.index == 0u {
    alive = min(lengths[params.lengths_base + batch], params.tokens);
  }
  let live = workgroupUniformLoad(&alive);
  let place = Place(batch, live);
  // A tile whose tokens are all dead has nothing to compare.
  let walked = select(0u, live, first_token < live);

  let column = first_token + tile_column(lane);
  let extent = Extent(walked, params.tokens, params.channels);
  let token = first_token + lane.index;
  let words = (params.tokens + 31u) / 32u;
  let row = batch * params.tokens + token;
  let has_token = lane.index < 64u && token < params.tokens;
  let sound = has_token && row_fact(place, token) == 1u;
  var count = 0u;
  var highest = NONE;
  for (var first = 0u; first < walked; first += 64u) {
    let other = first + tile_row(lane);
    let tile = dot_tile(lane, place, other, column, wanted_elems(lane, extent, other, first_token));
    let facts = row_facts(lane, place, other);
    var bits = vec4<u32>();
    bits = after(bits, tile.r0, facts.r0, 0u);
    bits = after(bits, tile.r1, facts.r1, 1u);
    bits = after(bits, tile.r2, facts.r2, 2u);
    bits = after(bits, tile.r3, facts.r3, 3u);
    bits = after(bits, tile.r4, facts.r4, 4u);
    bits = after(bits, tile.r5, facts.r5, 5u);
    bits = after(bits, tile.r6, facts.r6, 6u);
    bits = after(bits, tile.r7, facts.r7, 7u);
    if TALL {
      bits = after(bits, tile.r8, facts.r8, 8u);
      bits = after(bits, tile.r9, facts.r9, 9u);
      bits = after(bits, tile.r10, facts.r10, 10u);
      bits = after(bits, tile.r11, facts.r11, 11u);
      bits = after(bits, tile.r12, facts.r12, 12u);
      bits = after(bits, tile.r13, facts.r13, 13u);
      bits = after(bits, tile.r14, facts.r14, 14u);
      bits = after(bits, tile.r15, facts.r15, 15u);
    }
    let slot = tile_column(lane) * PARTS + tile_row(lane) / TILE_ROWS;
    for (var i = 0u; i < 4u; i++) {
      bits_of_part[slot + i * PARTS] = bits[i];
    }
    workgroupBarrier();
    if has_token {
      for (var half = 0u; half < 2u; half++) {
        var word = 0u;
        for (var part = 0u; part < PARTS / 2u; part++) {
          word |= bits_of_part[lane.index * PARTS + half * PARTS / 2u + part] << (part * TILE_ROWS);
        }
        let at = first / 32u + half;
        word = select(word, word & ~(1u << (token % 32u)), token / 32u == at);
        word = select(0u, word, sound);
        count += countOneBits(word);
        highest = select(highest, at * 32u + firstLeadingBit(word), word != 0u);
        if at < words {
          pairs[params.pairs_base + row * words + at] = word;
        }
      }
    }
    workgroupBarrier(); // before the bits are written again
  }
  if !has_token { return; }
  // What lies behind the last 64 live tokens.
  for (var at = (walked + 63u) / 64u * 2u; at < words; at++) {
    pairs[params.pairs_base + row * words + at] = 0u;
  }
  degree[params.degree_base + row] = count;
  last[params.last_base + row] = highest;
}
