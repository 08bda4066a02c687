
// Sorts pairs of a key and a 16-bit place in workgroup memory: keys descending, equal keys by ascending place.
// A bitonic network of the smallest power of two; 6 bytes an element, so that 2048 fit into 12 KiB. Word w of
// both arrays holds the elements 2w and 2w + 1, and a comparison is made on two of them at a time.
//
// The caller writes the first `span` elements, calls sort_block, and reads them by rank. To be called from uniform
// control flow, by all invocations.
override PAIRS: u32 = 1024u;
var<workgroup> sort_keys: array<vec2<u32>, PAIRS>;
var<workgroup> sort_places: array<u32, PAIRS>;

// Two comparisons: first.x with second.x, first.y with second.y.
struct Exchange {
  first_keys: vec2<u32>,
  first_places: vec2<u32>,
  second_keys: vec2<u32>,
  second_places: vec2<u32>,
}

fn sort_exchange(e: Exchange, reversed: vec2<bool>) -> Exchange {
  // Places differ, so one of the two goes first.
  let second_first = (e.second_keys > e.first_keys) | ((e.second_keys == e.first_keys) & (e.second_places < e.first_places));
  let swapped = second_first != reversed;
  return Exchange(
    select(e.first_keys, e.second_keys, swapped),
    select(e.first_places, e.second_places, swapped),
    select(e.second_keys, e.first_keys, swapped),
    select(e.second_places, e.first_places, swapped),
  );
}

// From comparisons two elements apart to comparisons of neighbours, and back.
fn sort_transpose(e: Exchange) -> Exchange {
  return Exchange(
    vec2<u32>(e.first_keys.x, e.second_keys.x),
    vec2<u32>(e.first_places.x, e.second_places.x),
    vec2<u32>(e.first_keys.y, e.second_keys.y),
    vec2<u32>(e.first_places.y, e.second_places.y),
  );
}

fn sort_load(first: u32, second: u32) -> Exchange {
  let first_places = sort_places[first];
  let second_places = sort_places[second];
  return Exchange(
    sort_keys[first],
    vec2<u32>(first_places & 0xffffu, first_places >> 16u),
    sort_keys[second],
    vec2<u32>(second_places & 0xffffu, second_places >> 16u),
  );
}

fn sort_store(first: u32, second: u32, e: Exchange) {
  sort_keys[first] = e.first_keys;
  sort_places[first] = e.first_places.x | (e.first_places.y << 16u);
  sort_keys[second] = e.second_keys;
  sort_places[second] = e.second_places.x | (e.second_places.y << 16u);
}

// `lanes` invocations sort `span` elements: a power of two, at least 4, at most 2 * PAIRS.
fn sort_block(lane: Lane, lanes: u32, span: u32) {
  for (var size = 4u; size <= span; size *= 2u) {
    // Words `half` apart, in blocks of `size` elements of which every second is reversed.
    for (var half = size / 4u; half >= 2u; half /= 2u) {
      workgroupBarrier();
      for (var i = lane.index; i < span / 4u; i += lanes) {
        let below = i & (half - 1u);
        let first = 2u * (i - below) + below;
        let reversed = vec2<bool>(((2u * first) & size) != 0u);
        sort_store(first, first + half, sort_exchange(sort_load(first, first + half), reversed));
      }
    }
    // The last two distances, 2 and 1, within four elements.
    workgroupBarrier();
    for (var i = lane.index; i < span / 4u; i += lanes) {
      let reversed = vec2<bool>(((4u * i) & size) != 0u);
      var e = sort_load(2u * i, 2u * i + 1u);
      if size == 4u {
        e = sort_transpose(sort_exchange(sort_transpose(e), vec2<bool>(false, true)));
      }
      e = sort_exchange(e, reversed);
      e = sort_transpose(sort_exchange(sort_transpose(e), reversed));
      sort_store(2u * i, 2u * i + 1u, e);
    }
  }
  workgroupBarrier();
}

fn sorted_key(rank: u32) -> u32 {
  let keys = sort_keys[rank / 2u];
  return select(keys.x, keys.y, (rank & 1u) == 1u);
}

fn sorted_place(rank: u32) -> u32 {
  return (sort_places[rank / 2u] >> (16u * (rank & 1u))) & 0xffffu;
}

