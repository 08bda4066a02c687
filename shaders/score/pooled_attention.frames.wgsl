// The attention that each frame receives from a chunk of the query frames. This is the second pass, after attention_score.row_sums.
//
//   w[h,i,j]          = exp(scale * queries[b,h,i] . keys[b,h/(H/Hkv),j] - largest[b,h,i]) / sum[b,h,i]
//   partials[0,s,b,j] = sum over the frames i of chunk s of max_h w[h,i,j]
//   partials[1,s,b,j] = sum over the frames i of chunk s that are in j's pool of sum_h w[h,i,j]
//
// queries:  [B, H, M, D] elem, four channels per elem where D is a multiple of 4
// keys:     [B, Hkv, M, D] elem
// lengths:  [B] u32; live frames
// sums:     [2, B, H, M] f32; each query's largest scaled logit, then the sums of exp(logit - largest)
// partials: [2, S, B, M] f32; of live frames
//
// In the maximum over the heads, a NaN wins.
//
// Key-stationary: a workgroup has 64 keys and walks over its chunk 64 queries at a time, head after head. An invocation keeps the largest
// weight of any head for each of its queries and keys. The chunks divide the live frames, so padding does not change the order of the sum.
//
// Cost: 2 H M^2 D operations. 64 keys share one read of the queries, and 64 queries one of the keys. No matrix is stored.

const PARTS = 64u / TILE_ROWS; // of 64 queries

// What key t of the tile receives: [t, part of the queries].
var<workgroup> all_parts: array<f32, 4u * TILE_LANES>;
var<workgroup> own_parts: array<f32, 4u * TILE_LANES>;
var<workgroup> alive: u32;

// Where the queries and the keys of a head begin.
struct Place {
  sums: u32,
  query: u32,
  key: u32,
  live: u32,
}

fn row_first(place: Place, i: u32) -> u32 {
  return place.query + min(i, params.frames - 1u) * params.channels;
}

fn row_elem(at: u32) -> elem_f32 {
  return elem_f32(queries[at]);
}

fn column_first(place: Place, j: u32) -> u32 {
  return place.key + min(j, params.frames - 1u) * params.channels;
}

fn column_elem(at: u32) -> elem_f32 {
  return elem_f32(keys[at]);
}

// The bits of a query's largest logit and of 1 / its sum, 0 for dead queries.
alias Fact = vec2<u32>;

fn row_fact(place: Place, i: u32) -> Fact {
  let at = place.sums + min(i, params.frames - 1u);
  let factor = bitcast<u32>(1.0 / sums[at + params.batch * params.heads * params.frames]);
  return Fact(bitcast<u32>(sums[at]), select(0u, factor, i < place.live));
}

fn weights_of(products: vec4<f32>, fact: Fact) -> vec4<f32> {
  let weights = exp(saturated(params.scale * products) - bitcast<f32>(fact.x)) * bitcast<f32>(fact.y);
  return select(vec4<f32>(), weights, fact.y != 0u);
}

// The weights of those of four keys that are in the pool that begins at `pool`.
fn own_of(weights: vec4<f32>, keys: vec4<u32>, pool: u32) -> vec4<f32> {
  return select(vec4<f32>(), weights, keys - pool < vec4<u32>(params.pool));
}

// Where query i's pool begins, if the query before it is in this pool.
fn pool_of(pool: u32, i: u32) -> u32 {
  return select(pool, i, i - pool == params.pool);
}

// A query's largest weights of all heads.
fn all_of(peaks: vec4<f32>) -> vec4<f32> {
  var nan = 0x7fc00000u;
  let bits = bitcast<vec4<u32>>(peaks);
  return bitcast<vec4<f32>>(select(bits, vec4<u32>(nan), bits == vec4<u32>(SPOILT)));
}

@compute @workgroup_size(TILE_LANES)
fn main(grid: Grid, lane: Lane) {
  let id = linear_group(grid);
  if id >= params.groups { return; }
  let tiles = (params.frames + 63u) / 64u;
  let first_key = id % tiles * 64u;
  let chunk = id / tiles % params.parts;
  let batch = id / tiles / params.parts;
  if lane.index == 0u {
    alive = min(lengths[params.lengths_base + batch], params.frames);
  }
  let live = workgroupUniformLoad(&alive);
  let length = max(128u, ((live + params.parts - 1u) / params.parts + 63u) / 64u * 64u);
  // A tile whose keys are all dead receives nothing.
  let end = select(0u, min(chunk * length + length, live), first_key < live);
  let column = first_key + tile_column(lane);

  let places = vec4<u32>(column, column + 1u, column + 2u, column + 3u);
  // What its keys have received waits in workgroup memory, so that it takes no registers in the loop of products.
  let slot = tile_column(lane) * PARTS + tile_row(lane) / TILE_ROWS;
  for (var t = 0u; t < 4u; t++) {
    all_parts[slot + t * PARTS] = 0.0;
    own_parts[slot + t * PARTS] = 0.0;
  }
  for (var first = chunk * length; first < end; first += 64u) {
    let i = first + tile_row(lane);
    var p = Tile(); // the largest weights of any head
    for (var h = 0u; h < params.heads; h++) {
      let head = batch * params.heads + h;
      let key_head = batch * params.key_heads + h / (params.heads / params.key_heads);
      let place = Place(
        params.sums_base + head * params.frames,
        params.queries_base + head * params.frames * params.channels,
        params.keys_base + key_head * params.frames * params.channels,
        live,
      );
      let extent = Extent(end, live, params.channels);
      let tile = dot_tile(lane, place, i, column, wanted_elems(lane, extent, i, first_key));
      let facts = row_facts(lane, place, i);
      var own = vec4<f32>();
      var pool = i / params.pool * params.pool;
      let w0 = weights_of(tile.r0, facts.r0);
      p.r0 = max(p.r0, marked(w0));
      own += own_of(w0, places, pool);
      let w1 = weights_of(tile.r1, facts.r1);
      p.r1 = max(p.r1, marked(w1));
      pool = pool_of(pool, i + 1u);
      own += own_of(w1, places, pool);
      let w2 = weights_of(tile.r2, facts.r2);
      p.r2 = max(p.r2, marked(w2));
      pool = pool_of(pool, i + 2u);
      own += own_of(w2, places, pool);
      let w3 = weights_of(tile.r3, facts.r3);
      p.r3 = max(p.r3, marked(w3));
      pool = pool_of(pool, i + 3u);
      own += own_of(w3, places, pool);
      let w4 = weights_of(tile.r4, facts.r4);
      p.r4 = max(p.r4, marked(w4));
      pool = pool_of(pool, i + 4u);
      own += own_of(w4, places, pool);
      let w5 = weights_of(tile.r5, facts.r5);
      p.r5 = max(p.r5, marked(w5));
      pool = pool_of(pool, i + 5u);
      own += own_of(w5, places, pool);
      let w6 = weights_of(tile.r6, facts.r6);
      p.r6 = max(p.r6, marked(w6));
      pool = pool_of(pool, i + 6u);
      own += own_of(w6, places, pool);
      let w7 = weights_of(tile.r7, facts.r7);
      p.r7 = max(p.r7, marked(w7));
      pool = pool_of(pool, i + 7u);
      own += own_of(w7, places, pool);
      if TALL {
        let w8 = weights_of(tile.r8, facts.r8);
        p.r8 = max(p.r8, marked(w8));
        pool = pool_of(pool, i + 8u);
        own += own_of(w8, places, pool);
        let w9 = weights_of(tile.r9, facts.r9);
        p.r9 = max(p.r9, marked(w9));
        pool = pool_of(pool, i + 9u);
        own += own_of(w9, places, pool);
        let w10 = weights_of(tile.r10, facts.r10);
        p.r10 = max(p.r10, marked(w10));
        pool = pool_of(pool, i + 10u);
        own += own_of(w10, places, pool);
        let w11 = weights_of(tile.r11, facts.r11);
        p.r11 = max(p.r11, marked(w11));
        pool = pool_of(pool, i + 11u);
        own += own_of(w11, places, pool);
        let w12 = weights_of(tile.r12, facts.r12);
        p.r12 = max(p.r12, marked(w12));
        pool = pool_of(pool, i + 12u);
        own += own_of(w12, places, pool);
        let w13 = weights_of(tile.r13, facts.r13);
        p.r13 = max(p.r13, marked(w13));
        pool = pool_of(pool, i + 13u);
        own += own_of(w13, places, pool);
        let w14 = weights_of(tile.r14, facts.r14);
        p.r14 = max(p.r14, marked(w14));
        pool = pool_of(pool, i + 14u);
        own += own_of(w14, places, pool);
        let w15 = weights_of(tile.r15, facts.r15);
        p.r15 = max(p.r15, marked(w15));
        pool = pool_of(pool, i + 15u);
        own += own_of(w15, places, pool);
      }
      for (var t = 0u; t < 4u; t++) {
        own_parts[slot + t * PARTS] += own[t];
      }
    }
    var all = vec4<f32>();
    all += all_of(p.r0);
    all += all_of(p.r1);
    all += all_of(p.r2);
    all += all_of(p.r3);
    all += all_of(p.r4);
    all += all_of(p.r5);
    all += all_of(p.r6);
    all += all_of(p.r7);
    if TALL {
      all += all_of(p.r8);
      all += all_of(p.r9);
      all += all_of(p.r10);
      all += all_of(p.r11);
      all += all_of(p.r12);
      all += all_of(p.r13);
      all += all_of(p.r14);
      all += all_of(p.r15);
    }
    for (var t = 0u; t < 4u; t++) {
      all_parts[slot + t * PARTS] += all[t];
    }
  }

  workgroupBarrier();
  let key = first_key + lane.index;
  if lane.index >= 64u || key >= live { return; }
  var all = 0.0;
  var own = 0.0;
  for (var part = lane.index * PARTS; part < lane.index * PARTS + PARTS; part++) {
    all += all_parts[part];
    own += own_parts[part];
  }
  let output = params.partials_base + (chunk * params.batch + batch) * params.frames + key;
  partials[output] = all;
  partials[output + params.parts * params.batch * params.frames] = own;
}
