
// Sorts pairs of a key and a 16-bit place in workgroup memory, by descending key, then by ascending place.
// This is a bitonic network whose size is a power of two. An element takes 6 bytes, so 2048 elements fit into 12 KiB. In both arrays, word
// w holds the elements 2w and 2w + 1, and each comparison handles two elements. Between two barriers, an invocation takes four words
// through two or three distances of the network.
//
// The caller writes the elements, calls sort_blocks, and reads the elements by rank. Call from uniform control flow, with all invocations.
override PAIRS: u32 = 1024u;
var<workgroup> sort_keys: array<vec2<u32>, PAIRS>;
var<workgroup> sort_places: array<u32, PAIRS>;

// Two words to compare: first.x with second.x, and first.y with second.y.
struct Words {
  first_keys: vec2<u32>,
  first_places: vec2<u32>,
  second_keys: vec2<u32>,
  second_places: vec2<u32>,
}

fn sort_load(first: u32, second: u32) -> Words {
  let first_places = sort_places[first];
  let second_places = sort_places[second];
  return Words(
    sort_keys[first],
    vec2<u32>(first_places & 0xffffu, first_places >> 16u),
    sort_keys[second],
    vec2<u32>(second_places & 0xffffu, second_places >> 16u),
  );
}

fn sort_store(first: u32, second: u32, w: Words) {
  sort_keys[first] = w.first_keys;
  sort_places[first] = w.first_places.x | (w.first_places.y << 16u);
  sort_keys[second] = w.second_keys;
  sort_places[second] = w.second_places.x | (w.second_places.y << 16u);
}

fn sort_exchange(w: Words, reversed: vec2<bool>) -> Words {
  // Places differ, so one of the two always goes first.
  let second_first = (w.second_keys > w.first_keys) | ((w.second_keys == w.first_keys) & (w.second_places < w.first_places));
  let swapped = second_first != reversed;
  return Words(
    select(w.first_keys, w.second_keys, swapped),
    select(w.first_places, w.second_places, swapped),
    select(w.second_keys, w.first_keys, swapped),
    select(w.second_places, w.first_places, swapped),
  );
}

// Compares the two elements of each word.
fn sort_within(w: Words, reversed: vec2<bool>) -> Words {
  return sort_transpose(sort_exchange(sort_transpose(w), reversed));
}

fn sort_transpose(w: Words) -> Words {
  return Words(
    vec2<u32>(w.first_keys.x, w.second_keys.x),
    vec2<u32>(w.first_places.x, w.second_places.x),
    vec2<u32>(w.first_keys.y, w.second_keys.y),
    vec2<u32>(w.first_places.y, w.second_places.y),
  );
}

fn sort_firsts(a: Words, b: Words) -> Words {
  return Words(a.first_keys, a.first_places, b.first_keys, b.first_places);
}

fn sort_seconds(a: Words, b: Words) -> Words {
  return Words(a.second_keys, a.second_places, b.second_keys, b.second_places);
}

// `lanes` invocations sort each block of `block` elements, out of `total` elements. All three are powers of two; `block` is at least 8 and
// at most 2 * PAIRS.
fn sort_blocks(lane: Lane, lanes: u32, block: u32, total: u32) {
  // Sorts blocks of `size` elements. Every second block is sorted in reverse, except in the last round.
  for (var size = 8u; size <= block; size *= 2u) {
    let direction = select(size, 0u, size == block);
    // Compares words that are `apart`, so that an even number of distances is left for the rest.
    var apart = size / 4u;
    if (countTrailingZeros(apart) & 1u) == 0u {
      workgroupBarrier();
      for (var i = lane.index; i < total / 4u; i += lanes) {
        let below = i & (apart - 1u);
        let first = 2u * (i - below) + below;
        let reversed = vec2<bool>(((2u * first) & direction) != 0u);
        sort_store(first, first + apart, sort_exchange(sort_load(first, first + apart), reversed));
      }
      apart /= 2u;
    }
    // Takes two distances at a time.
    for (; apart >= 2u; apart /= 4u) {
      workgroupBarrier();
      let near = apart / 2u;
      for (var i = lane.index; i < total / 8u; i += lanes) {
        let below = i & (near - 1u);
        let first = 4u * (i - below) + below;
        let reversed = vec2<bool>(((2u * first) & direction) != 0u);
        var low = sort_load(first, first + near);
        var high = sort_load(first + 2u * near, first + 3u * near);
        if size == 8u {
          // In the first round, blocks of 2 and 4 elements are not sorted yet.
          low = sort_within(low, vec2<bool>(false, true));
          high = sort_within(high, vec2<bool>(false, true));
          low = sort_within(sort_exchange(low, vec2<bool>(false)), vec2<bool>(false));
          high = sort_within(sort_exchange(high, vec2<bool>(true)), vec2<bool>(true));
        }
        let firsts = sort_exchange(sort_firsts(low, high), reversed);
        let seconds = sort_exchange(sort_seconds(low, high), reversed);
        low = sort_exchange(sort_firsts(firsts, seconds), reversed);
        high = sort_exchange(sort_seconds(firsts, seconds), reversed);
        if near == 1u {
          low = sort_within(low, reversed);
          high = sort_within(high, reversed);
        }
        sort_store(first, first + near, low);
        sort_store(first + 2u * near, first + 3u * near, high);
      }
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

