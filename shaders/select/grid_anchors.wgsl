// Walks over a grid of tokens in raster order. A token that its prediction is near to is dropped, and stands for what the prediction does.
//
//   a, b, c: what stands for the token to the left, above, and above to the left
//   prediction = b if near(c, a) and not near(c, b), else a        in the first row a, in the first column b
//   anchor[i] = the prediction if near(x_i, prediction), else i    near: their distance is at most the threshold
//
// x:       [B, N, C] elem, four channels per elem where C is a multiple of 4; rows of `width` tokens
// lengths: [B] u32; live tokens
// anchor:  [B, N] u32; NONE for dead tokens
//
// The distance is that of pair_distance, by MEASURE: 0 largest, 1 mean, 2 root of the mean of squares. Nothing is near a row with a NaN or an
// infinity. There are no ties.
// Sums are in f32. Each of 128 invocations takes every 128th elem; 16 of them add up eight sums each in order, and those are added in order.
//
// Cost: a dispatch of some hundred tokens each, a workgroup for each batch row; four row reads a token, three of them mostly from cache.

override MEASURE: u32;

const LANES = 128u;
const NONE = 0xffffffffu;
var<workgroup> parts: array<vec4<f32>, LANES>;
var<workgroup> joints: array<vec4<f32>, 16>;
var<workgroup> broken_parts: array<u32, LANES>;
var<workgroup> broken_joints: array<u32, 16>;
var<workgroup> alive: u32;

fn joined(a: vec4<f32>, b: vec4<f32>) -> vec4<f32> {
  return select(a + b, max(a, b), MEASURE == 0u);
}

// What the differences of one elem add.
fn part_of(apart: elem_f32) -> f32 {
  if MEASURE == 1u { return elem_dot(abs(apart), elem_f32(1.0)); }
  if MEASURE == 2u { return elem_dot(apart, apart); }
  var largest = 0.0;
  for (var i = 0u; i < ELEM_WIDTH; i++) {
    largest = max(largest, abs(elem_number(apart, i)));
  }
  return largest;
}

fn is_broken(numbers: elem_f32) -> bool {
  var finite = true;
  for (var i = 0u; i < ELEM_WIDTH; i++) {
    finite = finite && is_finite(elem_number(numbers, i));
  }
  return !finite;
}

fn row_elem(row: u32, c: u32) -> elem_f32 {
  return elem_f32(x[params.x_base + row * params.channels + c]);
}

@compute @workgroup_size(LANES)
fn main(grid: Grid, lane: Lane) {
  let batch = linear_group(grid);
  if batch >= params.batch { return; }
  if lane.index == 0u {
    alive = min(lengths[params.lengths_base + batch], params.tokens);
  }
  let live = workgroupUniformLoad(&alive);
  let row = batch * params.tokens;
  let anchors = params.anchor_base + row;

  for (var token = params.first; token < min(params.last, live); token++) {
    let column = token % params.width;
    // Where there is no such token, another takes its place, and what is found of it is not used.
    let to_left = token - select(0u, 1u, column > 0u);
    let above = token - select(0u, params.width, token >= params.width);
    let corner = above - select(0u, 1u, column > 0u);
    let at_start = token == 0u;
    var a = 0u;
    var b = 0u;
    var c = 0u;
    if !at_start {
      a = anchor[anchors + select(above, to_left, column > 0u)];
      b = anchor[anchors + select(to_left, above, token >= params.width)];
      c = anchor[anchors + select(min(corner, token - 1u), corner, token >= params.width)];
    }

    var part = vec4<f32>();
    var bits = 0u;
    for (var i = lane.index; i < params.channels; i += LANES) {
      let own = row_elem(row + token, i);
      let of_a = row_elem(row + a, i);
      let of_b = row_elem(row + b, i);
      let of_c = row_elem(row + c, i);
      part = joined(part, vec4<f32>(part_of(own - of_a), part_of(own - of_b), part_of(of_c - of_a), part_of(of_c - of_b)));
      bits |= select(0u, 1u, is_broken(own)) | select(0u, 2u, is_broken(of_a));
      bits |= select(0u, 4u, is_broken(of_b)) | select(0u, 8u, is_broken(of_c));
    }
    parts[lane.index] = part;
    broken_parts[lane.index] = bits;
    workgroupBarrier();
    if lane.index < 16u {
      part = vec4<f32>();
      bits = 0u;
      for (var i = 8u * lane.index; i < 8u * lane.index + 8u; i++) {
        part = joined(part, parts[i]);
        bits |= broken_parts[i];
      }
      joints[lane.index] = part;
      broken_joints[lane.index] = bits;
    }
    workgroupBarrier();
    part = vec4<f32>();
    bits = 0u;
    for (var i = 0u; i < 16u; i++) {
      part = joined(part, joints[i]);
      bits |= broken_joints[i];
    }
    if MEASURE != 0u { part = part / params.count; }
    if MEASURE == 2u { part = sqrt(part); }
    let whole = vec4<bool>((bits & 3u) == 0u, (bits & 5u) == 0u, (bits & 10u) == 0u, (bits & 12u) == 0u);
    let near = (part <= vec4<f32>(params.threshold)) & whole;
    let inside = token >= params.width && column > 0u;
    let by_above = select(column == 0u, near.z && !near.w, inside);
    let predicted = select(near.x, near.y, by_above) && !at_start;
    if lane.index == 0u {
      anchor[anchors + token] = select(token, select(a, b, by_above), predicted);
    }
    storageBarrier(); // before the next token reads it, and before the sums are written again
  }
  for (var token = max(live, params.first) + lane.index; token < params.last; token += LANES) {
    anchor[anchors + token] = NONE;
  }
}
