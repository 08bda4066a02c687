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

// The largest logit of a query, and 1 / its sum.
alias Fact = vec2<f32>;

fn row_fact(place: Place, i: u32) -> Fact {
  let at = place.sums + min(i, params.frames - 1u);
  return Fact(sums[at], 1.0 / sums[at + params.batch * params.heads * params.frames]);
}

// What the invocation knows of its four keys: where their pools begin, and what they have received.
struct Keys {
  pool: vec4<u32>,
  all: vec4<f32>,
  own: vec4<f32>,
}

fn weights_of(products: vec4<f32>, fact: Fact) -> vec4<f32> {
  return exp(saturated(params.scale * products) - fact.x) * fact.y;
}

// A query's weights of the head, if the query is in a key's own pool.
fn own_of(keys: Keys, weights: vec4<f32>, i: u32, end: u32) -> vec4<f32> {
  return select(vec4<f32>(), weights, (vec4<u32>(i) - keys.pool < vec4<u32>(params.pool)) & vec4<bool>(i < end));
}

// A query's largest weights of all heads.
fn all_of(peaks: vec4<f32>, i: u32, end: u32) -> vec4<f32> {
  var nan = 0x7fc00000u;
  let bits = bitcast<vec4<u32>>(peaks);
  let known = bitcast<vec4<f32>>(select(bits, vec4<u32>(nan), bits == vec4<u32>(SPOILT)));
  return select(vec4<f32>(), known, i < end);
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
  var mine = Keys(places / params.pool * params.pool, vec4<f32>(), vec4<f32>());
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
      let w0 = weights_of(tile.r0, facts.r0);
      p.r0 = max(p.r0, marked(w0));
      mine.own += own_of(mine, w0, i + 0u, end);
      let w1 = weights_of(tile.r1, facts.r1);
      p.r1 = max(p.r1, marked(w1));
      mine.own += own_of(mine, w1, i + 1u, end);
      let w2 = weights_of(tile.r2, facts.r2);
      p.r2 = max(p.r2, marked(w2));
      mine.own += own_of(mine, w2, i + 2u, end);
      let w3 = weights_of(tile.r3, facts.r3);
      p.r3 = max(p.r3, marked(w3));
      mine.own += own_of(mine, w3, i + 3u, end);
      let w4 = weights_of(tile.r4, facts.r4);
      p.r4 = max(p.r4, marked(w4));
      mine.own += own_of(mine, w4, i + 4u, end);
      let w5 = weights_of(tile.r5, facts.r5);
      p.r5 = max(p.r5, marked(w5));
      mine.own += own_of(mine, w5, i + 5u, end);
      let w6 = weights_of(tile.r6, facts.r6);
      p.r6 = max(p.r6, marked(w6));
      mine.own += own_of(mine, w6, i + 6u, end);
      let w7 = weights_of(tile.r7, facts.r7);
      p.r7 = max(p.r7, marked(w7));
      mine.own += own_of(mine, w7, i + 7u, end);
      if TALL {
        let w8 = weights_of(tile.r8, facts.r8);
        p.r8 = max(p.r8, marked(w8));
        mine.own += own_of(mine, w8, i + 8u, end);
        let w9 = weights_of(tile.r9, facts.r9);
        p.r9 = max(p.r9, marked(w9));
        mine.own += own_of(mine, w9, i + 9u, end);
        let w10 = weights_of(tile.r10, facts.r10);
        p.r10 = max(p.r10, marked(w10));
        mine.own += own_of(mine, w10, i + 10u, end);
        let w11 = weights_of(tile.r11, facts.r11);
        p.r11 = max(p.r11, marked(w11));
        mine.own += own_of(mine, w11, i + 11u, end);
        let w12 = weights_of(tile.r12, facts.r12);
        p.r12 = max(p.r12, marked(w12));
        mine.own += own_of(mine, w12, i + 12u, end);
        let w13 = weights_of(tile.r13, facts.r13);
        p.r13 = max(p.r13, marked(w13));
        mine.own += own_of(mine, w13, i + 13u, end);
        let w14 = weights_of(tile.r14, facts.r14);
        p.r14 = max(p.r14, marked(w14));
        mine.own += own_of(mine, w14, i + 14u, end);
        let w15 = weights_of(tile.r15, facts.r15);
        p.r15 = max(p.r15, marked(w15));
        mine.own += own_of(mine, w15, i + 15u, end);
      }
    }
    mine.all += all_of(p.r0, i + 0u, end);
    mine.all += all_of(p.r1, i + 1u, end);
    mine.all += all_of(p.r2, i + 2u, end);
    mine.all += all_of(p.r3, i + 3u, end);
    mine.all += all_of(p.r4, i + 4u, end);
    mine.all += all_of(p.r5, i + 5u, end);
    mine.all += all_of(p.r6, i + 6u, end);
    mine.all += all_of(p.r7, i + 7u, end);
    if TALL {
      mine.all += all_of(p.r8, i + 8u, end);
      mine.all += all_of(p.r9, i + 9u, end);
      mine.all += all_of(p.r10, i + 10u, end);
      mine.all += all_of(p.r11, i + 11u, end);
      mine.all += all_of(p.r12, i + 12u, end);
      mine.all += all_of(p.r13, i + 13u, end);
      mine.all += all_of(p.r14, i + 14u, end);
      mine.all += all_of(p.r15, i + 15u, end);
    }
  }

  let slot = tile_column(lane) * PARTS + tile_row(lane) / TILE_ROWS;
  for (var t = 0u; t < 4u; t++) {
    all_parts[slot + t * PARTS] = mine.all[t];
    own_parts[slot + t * PARTS] = mine.own[t];
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
