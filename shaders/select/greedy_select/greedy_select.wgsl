// Greedy selection of k tokens: first the given ones, then in each step the one that scores best, given those already selected.
//
//   max-min       -max_s cos(i, s)                                    while nothing is selected, the lowest weight goes first
//   marginal      relevance weight_i - (1 - relevance) max_s cos(i, s)       while nothing is selected, the highest weight goes first
//   determinant   d_i: the factor by which det(weight_i weight_j cos(i, j)) over the selected tokens grows with i,
//                 from the columns e of its Cholesky decomposition:
//                 e_i = (weight_i weight_p cos(i, p) - sum_s e_s[i] e_s[p]) / sqrt(d_p)      d_i -= e_i^2
//
// unit:    [B, N, C] f32, C / 4 elems of four numbers where C is a multiple of 4
// counts:  [B] u32, tokens to select
// given:   [G] or [B, G] u32, tokens selected before all others; NONE, repeated and dead ones are skipped
// indices: [B, K] u32, in order of selection
// kept:    [B] u32
// memory:  [B, stride] of four u32, of tokens 4 i to 4 i + 3: two arrays of their ranks, used in turn; two of their states; their weights; two
//          tallies, used in turn: selected tokens, columns, and given entries that are done with; the columns e, [rank, N / 4]
// gram:    [batch rows of the dispatch, N, N / 4] of four f32, from greedy_select.gram; N rounded up to 64; unused if it is not kept
//
// Ranks are order keys of the scores, and ties go to the lowest token. Key KEY_DEAD is no candidate. Key KEY_NAN marks a token with a NaN
// or an infinity: it is selected last, and does not affect the others.
// A d_i of at most 2^-16 weight_i^2 is rounding, and counts as 0. A token whose d_p is 0 makes no column. Once there are as many columns as
// channels, they span every token, and all d_i are 0.
//
// An invocation has four tokens at a time, and a workgroup a tile of 4 `wide` tokens. If `parts` is 1, a workgroup takes a whole batch row,
// and many steps are one dispatch. Otherwise each workgroup has its own tiles, and each step is a dispatch in which every workgroup finds the
// winner by itself.
//
// A cosine is summed in ascending channels wherever it comes from, by the operations of a tile: so the same tokens are selected.
//
// Cost, for each selected token: a row of the matrix, or 2 N C operations. The determinant needs 2 N more for each earlier column.

// Where cosines come from.
override SOURCE: u32 = 0u;
const READ = 0u; // every invocation reads rows, through the caches: for CPUs
const STAGED = 1u; // rows pass through workgroup memory: for GPUs; a tile has 64 tokens
const KEPT = 2u; // from `gram`

const NONE = 0xffffffffu;
const MARGINAL = 1u;
const DETERMINANT = 2u;
const ROUNDING = 1.52587890625e-5; // 2^-16
const LANES = 128u;
const PIVOTS = 512u; // columns of the winner that are kept in workgroup memory
const SLICE = 8u; // elems

var<workgroup> keys: array<u32, 128>;
var<workgroup> owners: array<u32, 128>;
var<workgroup> pivots: array<vec4<f32>, 128>;
var<workgroup> winner: u32;
var<workgroup> wanted: u32;
var<workgroup> tally: vec4<u32>;
var<workgroup> first_given: atomic<u32>;
// One elem more than a slice has, so that the tokens lie in different banks.
var<workgroup> of_tokens: array<array<elem_f32, 9>, 64>;
var<workgroup> of_winner: array<elem_f32, 8>;
var<workgroup> sums: array<f32, 64>;

struct Best {
  key: u32,
  owner: u32,
}

fn better(best: Best, key: u32, token: u32) -> Best {
  return Best(max(best.key, key), select(best.owner, token, key > best.key));
}

// The better of `best` and four tokens from `first` on.
fn best_of_four(best: Best, keys: vec4<u32>, first: u32) -> Best {
  let two = better(better(best, keys.x, first), keys.y, first + 1u);
  return better(better(two, keys.z, first + 2u), keys.w, first + 3u);
}

// Entry `first` becomes the best of `count` entries.
fn best_of(first: u32, count: u32, step: u32) {
  var key = keys[first];
  var owner = owners[first];
  for (var i = 1u; i < count; i++) {
    let other = keys[first + i * step];
    let other_owner = owners[first + i * step];
    let better = other > key || (other == key && other_owner < owner);
    key = select(key, other, better);
    owner = select(owner, other_owner, better);
  }
  keys[first] = key;
  owners[first] = owner;
}

// Where a token's row begins. Tokens past the last one have the last one's.
fn row_at(batch: u32, token: u32) -> u32 {
  return params.unit_base + (batch * params.tokens + min(token, params.tokens - 1u)) * params.channels;
}

// The products of the row at `winner_at` with those of four tokens.
fn read_cosines(batch: u32, winner_at: u32, token: u32) -> vec4<f32> {
  let row0 = row_at(batch, token);
  let row1 = row_at(batch, token + 1u);
  let row2 = row_at(batch, token + 2u);
  let row3 = row_at(batch, token + 3u);
  var total = vec4<f32>();
  for (var c = 0u; c < params.channels; c++) {
    total += products(unit[winner_at + c], unit[row0 + c], unit[row1 + c], unit[row2 + c], unit[row3 + c]);
  }
  return total;
}

// What an invocation fetches of a slice.
struct Fetched {
  winner: elem_f32,
  a: elem_f32,
  b: elem_f32,
  c: elem_f32,
  d: elem_f32,
}

fn fetch(winner_at: u32, rows: vec4<u32>, c: u32) -> Fetched {
  let at = min(c, params.channels - 1u);
  return Fetched(unit[winner_at + at], unit[rows.x + at], unit[rows.y + at], unit[rows.z + at], unit[rows.w + at]);
}

// The same as `read_cosines` for a tile of 64 tokens, of which the first 16 invocations get four each. All fetch, neighbours on neighbouring
// addresses, and fetch the next slice before the present one is used. There is at least one channel. Call in uniform control flow.
fn staged_cosines(lane: Lane, batch: u32, winner_at: u32, first: u32) -> vec4<f32> {
  let place = lane.index % SLICE;
  let which = lane.index / SLICE;
  let rows = vec4<u32>(
    row_at(batch, first + which),
    row_at(batch, first + which + 16u),
    row_at(batch, first + which + 32u),
    row_at(batch, first + which + 48u),
  );
  var sum = 0.0;
  var next = fetch(winner_at, rows, place);
  for (var done = 0u; done < params.channels; done += SLICE) {
    workgroupBarrier(); // wait until the previous slice has been read
    of_tokens[which][place] = next.a;
    of_tokens[which + 16u][place] = next.b;
    of_tokens[which + 32u][place] = next.c;
    of_tokens[which + 48u][place] = next.d;
    if lane.index < SLICE { of_winner[place] = next.winner; }
    workgroupBarrier();
    next = fetch(winner_at, rows, done + SLICE + place); // the fetch behind the last slice repeats its end
    if lane.index < 64u {
      if done + SLICE <= params.channels {
        for (var i = 0u; i < SLICE; i++) { sum = plus_elem(of_winner[i], of_tokens[lane.index][i], sum); }
      } else {
        for (var i = 0u; i < params.channels - done; i++) { sum = plus_elem(of_winner[i], of_tokens[lane.index][i], sum); }
      }
    }
  }
  if lane.index < 64u { sums[lane.index] = sum; }
  workgroupBarrier();
  let four = lane.index % 16u * 4u;
  return vec4<f32>(sums[four], sums[four + 1u], sums[four + 2u], sums[four + 3u]);
}

// `start` less the products of the winner's columns with those of four tokens, in their order. `columns` is where the four tokens' begin,
// and `winner_columns` where those of the winner and its neighbours do.
fn less_columns(start: vec4<f32>, columns: u32, winner_columns: u32, in_four: u32, fours: u32, depth: u32) -> vec4<f32> {
  var total = start;
  let whole = min(depth, PIVOTS) / 4u;
  for (var i = 0u; i < whole; i++) {
    let e = pivots[i];
    let at = columns + 4u * i * fours;
    total -= e.x * bitcast<vec4<f32>>(memory[at]);
    total -= e.y * bitcast<vec4<f32>>(memory[at + fours]);
    total -= e.z * bitcast<vec4<f32>>(memory[at + 2u * fours]);
    total -= e.w * bitcast<vec4<f32>>(memory[at + 3u * fours]);
  }
  for (var s = 4u * whole; s < depth; s++) {
    let e = bitcast<f32>(memory[winner_columns + s * fours][in_four]);
    total -= e * bitcast<vec4<f32>>(memory[columns + s * fours]);
  }
  return total;
}

@compute @workgroup_size(128)
fn main(grid: Grid, lane: Lane) {
  let id = linear_group(grid);
  if id >= params.groups { return; }
  let row_of_dispatch = id / params.parts;
  let batch = params.first_batch + row_of_dispatch;
  let part = id % params.parts;
  let fours = (params.tokens + 3u) / 4u;
  let ranks = params.memory_base + batch * params.stride;
  let states = ranks + 2u * fours;
  let weights = states + 2u * fours;
  let tallies = weights + fours;
  let columns = tallies + 2u;
  let across = (fours + 15u) / 16u * 16u; // of the matrix
  let matrix = params.gram_base + row_of_dispatch * 4u * across * across;

  if lane.index == 0u {
    wanted = min(counts[params.counts_base + batch], params.k);
    tally = memory[tallies + params.first % 2u];
  }
  let count = workgroupUniformLoad(&wanted);
  let done_before = workgroupUniformLoad(&tally);
  var selected = done_before.x;
  var depth = done_before.y;
  var next_given = done_before.z;

  var best = Best(KEY_DEAD, NONE);
  for (var four = lane.index; four < fours; four += LANES) {
    best = best_of_four(best, memory[ranks + selected % 2u * fours + four], 4u * four);
  }
  keys[lane.index] = best.key;
  owners[lane.index] = best.owner;
  workgroupBarrier();
  for (var step = params.first; step < params.last; step++) {
    if selected >= count { break; }
    // The next given token that can be selected, of 128 entries at a time.
    let ranks_before = ranks + selected % 2u * fours;
    var found = NONE;
    while found == NONE && next_given < params.given_count {
      if lane.index == 0u {
        atomicStore(&first_given, NONE);
      }
      workgroupBarrier();
      let entry = next_given + lane.index;
      if entry < params.given_count {
        let token = given[params.given_base + batch * params.given_stride + entry];
        let within = min(token, params.tokens - 1u);
        if token == within && memory[ranks_before + within / 4u][within % 4u] != KEY_DEAD {
          atomicMin(&first_given, entry);
        }
      }
      found = workgroupUniformLoad(&first_given);
      next_given = select(found + 1u, next_given + LANES, found == NONE);
    }
    // Otherwise the best of each invocation's tokens, of 8 invocations, and of all.
    if found == NONE {
      if lane.index < 16u {
        best_of(lane.index * 8u, 8u, 1u);
      }
      workgroupBarrier();
      if lane.index == 0u {
        best_of(0u, 16u, 8u);
        winner = owners[0];
      }
    } else if lane.index == 0u {
      winner = given[params.given_base + batch * params.given_stride + found];
    }
    let chosen = workgroupUniformLoad(&winner);
    if chosen == NONE { break; }

    let ranks_after = ranks + (selected + 1u) % 2u * fours;
    let states_before = states + selected % 2u * fours;
    let states_after = states + (selected + 1u) % 2u * fours;
    let chosen_four = chosen / 4u;
    let in_four = chosen % 4u;
    let sound = memory[ranks_before + chosen_four][in_four] != KEY_NAN;
    let pivot = bitcast<f32>(memory[states_before + chosen_four][in_four]);
    let chosen_weight = bitcast<f32>(memory[weights + chosen_four][in_four]);
    let chosen_at = row_at(batch, chosen);
    let chosen_columns = columns + chosen_four;
    let spans = sound && pivot > 0.0 && depth < params.rank;
    if params.objective == DETERMINANT {
      for (var i = lane.index; 4u * i + 3u < min(depth, PIVOTS); i += LANES) {
        let at = chosen_columns + 4u * i * fours;
        pivots[i] = bitcast<vec4<f32>>(vec4<u32>(
          memory[at][in_four],
          memory[at + fours][in_four],
          memory[at + 2u * fours][in_four],
          memory[at + 3u * fours][in_four],
        ));
      }
      workgroupBarrier();
    }
    best = Best(KEY_DEAD, NONE);
    for (var tile = part * params.wide; tile < fours; tile += params.parts * params.wide) {
      var cosines = vec4<f32>();
      if SOURCE == STAGED {
        cosines = staged_cosines(lane, batch, chosen_at, 4u * tile);
      }
      let four = tile + lane.index;
      if lane.index < params.wide && four < fours {
        if SOURCE == KEPT {
          cosines = gram[matrix + chosen * across + four];
        }
        if SOURCE == READ {
          cosines = read_cosines(batch, chosen_at, 4u * four);
        }
        let old = memory[ranks_before + four];
        let weight = bitcast<vec4<f32>>(memory[weights + four]);
        let state_before = bitcast<vec4<f32>>(memory[states_before + four]);
        var state = state_before;
        var score = vec4<f32>();
        if params.objective == DETERMINANT {
          if spans {
            let total = less_columns(cosines * (chosen_weight * weight), columns + four, chosen_columns, in_four, fours, depth);
            let e = total / sqrt(pivot);
            memory[columns + depth * fours + four] = bitcast<vec4<u32>>(e);
            state -= e * e;
          }
          let nothing = (state <= weight * weight * ROUNDING) | vec4<bool>(spans && depth + 1u == params.rank);
          state = select(state, vec4<f32>(), nothing);
          score = state;
        } else {
          state = max(state, cosines);
          score = select(vec4<f32>(), params.relevance * weight, params.objective == MARGINAL) - params.similarity * state;
        }
        let tokens = vec4<u32>(4u * four) + vec4<u32>(0u, 1u, 2u, 3u);
        let key = max(
          vec4<u32>(order_key(score.x), order_key(score.y), order_key(score.z), order_key(score.w)),
          vec4<u32>(KEY_NAN + 1u),
        );
        let is_chosen = tokens == vec4<u32>(chosen);
        let changes = (old > vec4<u32>(KEY_NAN)) & vec4<bool>(sound);
        let rank = select(select(old, key, changes), vec4<u32>(KEY_DEAD), is_chosen);
        memory[ranks_after + four] = rank;
        memory[states_after + four] = bitcast<vec4<u32>>(select(state_before, state, changes));
        best = best_of_four(best, rank, 4u * four);
      }
    }
    keys[lane.index] = best.key;
    owners[lane.index] = best.owner;
    if part == 0u && lane.index == 0u {
      indices[params.indices_base + batch * params.k + selected] = chosen;
    }
    selected++;
    depth += select(0u, 1u, spans);
    storageBarrier(); // others read ranks, states and columns in the next step
    workgroupBarrier();
  }
  if part == 0u && lane.index == 0u {
    memory[tallies + params.last % 2u] = vec4<u32>(selected, depth, next_given, 0u);
    kept[params.kept_base + batch] = selected;
  }
}
