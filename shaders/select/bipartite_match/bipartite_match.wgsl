// The most similar destination for every source. The matrix of similarities stays in registers.
//
//   similarity_i = max_j unit[source_i] . unit[destination_j]        partner_i = the lowest such j
//
// unit:         [B, N, C] f32; C / 4 elems of four numbers where C is a multiple of 4
// norm:         [B, N] f32, NaN for rows with a NaN or an infinity
// sources:      [Ns] or [B, Ns] u32, token positions
// destinations: [Nd] or [B, Nd] u32, token positions
// lengths:      [B] u32; positions from it on are dead
// similarity:   [B, Ns] f32
// partner:      [B, Ns] u32, indices into the list of destinations
//
// Candidates are ordered by descending similarity, then by index. NaN ranks lowest; so does a similarity with a row that has a NaN or an
// infinity. Dead and protected (leading) entries of the lists are no candidates. Without candidates, and for a dead or protected source,
// the similarity is -infinity and the partner NONE.
//
// Near 1 the similarity is 1 - |unit[source_i] - unit[destination_j]|^2 / 2. This is 1 for equal rows and never more. The similarity is
// never below -1.
//
// A workgroup has 64 sources. An invocation has four of them, and 16 of every 64 destinations, or eight in the form for GPUs. One
// invocation sums each inner product over ascending channels, whatever the batch and the padding.
//
// Cost: 2 Ns Nd C operations. 64 sources share one read of the destinations' unit rows from cache, and 64 destinations share one of the
// sources' rows.

const PARTS = 64u / TILE_ROWS; // of 64 destinations

// The best of source t: [t, part of the destinations].
var<workgroup> similarities: array<f32, 4u * TILE_LANES>;
var<workgroup> partners: array<u32, 4u * TILE_LANES>;
var<workgroup> some_source: atomic<u32>;

// A tile's rows are destinations, and its columns are sources.
fn row_first(place: Place, j: u32) -> u32 {
  return params.unit_base + row_of(place, destination_token(place, j)) * params.channels;
}

fn row_elem(at: u32) -> elem_f32 {
  return unit[at];
}

fn column_first(place: Place, i: u32) -> u32 {
  return params.unit_base + row_of(place, source_token(place, i)) * params.channels;
}

fn column_elem(at: u32) -> elem_f32 {
  return unit[at];
}

// The token of destination j, or NONE, and whether its row is free of NaN and infinities.
alias Fact = vec2<u32>;

fn row_fact(place: Place, j: u32) -> Fact {
  let token = destination_token(place, j);
  return vec2<u32>(token, select(0u, 1u, is_sound(place, token)));
}

// The best destinations of four sources so far.
struct Best {
  similarity: vec4<f32>,
  partner: vec4<u32>,
}

// The state after destination j. Destinations come in ascending order, so of equals the first stays.
fn best_of(best: Best, products: vec4<f32>, sound: vec4<bool>, fact: Fact, j: u32) -> Best {
  let values = select(vec4<f32>(LOWEST), products, sound & vec4<bool>(fact.y == 1u));
  let wins = ((values > best.similarity) | (best.partner == vec4<u32>(NONE))) & vec4<bool>(fact.x != NONE);
  return Best(select(best.similarity, values, wins), select(best.partner, vec4<u32>(j), wins));
}

@compute @workgroup_size(TILE_LANES)
fn main(grid: Grid, lane: Lane) {
  let id = linear_group(grid);
  if id >= params.tiles { return; }
  let tiles_of_row = (params.source_count + 63u) / 64u;
  let batch = id / tiles_of_row;
  let first_source = id % tiles_of_row * 64u;
  let place = Place(batch, min(lengths[params.lengths_base + batch], params.tokens));

  let column = first_source + tile_column(lane);
  let tokens = vec4<u32>(
    source_token(place, column),
    source_token(place, column + 1u),
    source_token(place, column + 2u),
    source_token(place, column + 3u),
  );
  let sound = vec4<bool>(
    is_sound(place, tokens.x),
    is_sound(place, tokens.y),
    is_sound(place, tokens.z),
    is_sound(place, tokens.w),
  );
  // A tile whose sources are all dead has nothing to compare.
  if lane.index == 0u {
    atomicStore(&some_source, 0u);
  }
  workgroupBarrier();
  if any(tokens != vec4<u32>(NONE)) {
    atomicMax(&some_source, 1u);
  }
  let end = workgroupUniformLoad(&some_source) * params.destination_count;

  let extent = Extent(params.destination_count, params.source_count, params.channels);
  var best = Best(vec4<f32>(LOWEST), vec4<u32>(NONE));
  for (var first = 0u; first < end; first += 64u) {
    let j = first + tile_row(lane);
    let tile = dot_tile(lane, place, j, column, wanted_elems(lane, extent, j, first_source));
    let facts = row_facts(lane, place, j);
    best = best_of(best, tile.r0, sound, facts.r0, j + 0u);
    best = best_of(best, tile.r1, sound, facts.r1, j + 1u);
    best = best_of(best, tile.r2, sound, facts.r2, j + 2u);
    best = best_of(best, tile.r3, sound, facts.r3, j + 3u);
    best = best_of(best, tile.r4, sound, facts.r4, j + 4u);
    best = best_of(best, tile.r5, sound, facts.r5, j + 5u);
    best = best_of(best, tile.r6, sound, facts.r6, j + 6u);
    best = best_of(best, tile.r7, sound, facts.r7, j + 7u);
    if TALL {
      best = best_of(best, tile.r8, sound, facts.r8, j + 8u);
      best = best_of(best, tile.r9, sound, facts.r9, j + 9u);
      best = best_of(best, tile.r10, sound, facts.r10, j + 10u);
      best = best_of(best, tile.r11, sound, facts.r11, j + 11u);
      best = best_of(best, tile.r12, sound, facts.r12, j + 12u);
      best = best_of(best, tile.r13, sound, facts.r13, j + 13u);
      best = best_of(best, tile.r14, sound, facts.r14, j + 14u);
      best = best_of(best, tile.r15, sound, facts.r15, j + 15u);
    }
  }

  let slot = tile_column(lane) * PARTS + tile_row(lane) / TILE_ROWS;
  for (var i = 0u; i < 4u; i++) {
    similarities[slot + i * PARTS] = best.similarity[i];
    // A dead source has no partner.
    partners[slot + i * PARTS] = select(best.partner[i], NONE, tokens[i] == NONE);
  }
  workgroupBarrier();
  let source = first_source + lane.index;
  if lane.index >= 64u || source >= params.source_count { return; }
  var value = LOWEST;
  var j = NONE;
  for (var part = lane.index * PARTS; part < lane.index * PARTS + PARTS; part++) {
    if partners[part] != NONE && (j == NONE || similarities[part] > value || (similarities[part] == value && partners[part] < j)) {
      value = similarities[part];
      j = partners[part];
    }
  }
  similarity[params.similarity_base + batch * params.source_count + source] = similarity_of(place, source, j, value);
  partner[params.partner_base + batch * params.source_count + source] = j;
}
