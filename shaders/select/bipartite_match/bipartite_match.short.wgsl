// The most similar of few destinations for every source. This is bipartite_match with one invocation per source.
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
// Each inner product is summed over ascending channels, as in bipartite_match.
//
// Cost: 2 Ns Nd C operations. Rows are read from cache. No barriers.

@compute @workgroup_size(64)
fn main(grid: Grid, lane: Lane) {
  let row = linear_group(grid) * 64u + lane.index;
  if row >= params.tiles { return; }
  let batch = row / params.source_count;
  let source = row % params.source_count;
  let place = Place(batch, min(lengths[params.lengths_base + batch], params.tokens));
  let token = source_token(place, source);
  let sound = is_sound(place, token);
  let a = params.unit_base + row_of(place, token) * params.channels;

  var best = NONE;
  var value = LOWEST;
  let end = select(params.destination_count, 0u, token == NONE);
  for (var j = 0u; j < end; j++) {
    let other = destination_token(place, j);
    if other == NONE { continue; }
    var product = LOWEST;
    if sound && is_sound(place, other) {
      product = 0.0;
      let b = params.unit_base + row_of(place, other) * params.channels;
      for (var c = 0u; c < params.channels; c++) {
        product += elem_dot(unit[b + c], unit[a + c]);
      }
    }
    // Of equals, the first stays.
    if best == NONE || product > value {
      best = j;
      value = product;
    }
  }
  similarity[params.similarity_base + row] = similarity_of(place, source, best, value);
  partner[params.partner_base + row] = best;
}
