// Moves an image to blocks, or back, bit for bit. On one side, PLANES elements lie next to each other. On the other, they lie in PLANES
// planes. These elements are the dx of a planar image, or the (dy, dx) of (channel, dy, dx) blocks.
//
// interleaved: a0 b0 c0 d0 a1 b1 c1 d1 ..      planes: a0 a1 .., b0 b1 .., c0 c1 .., d0 d1 ..
//
// An invocation reads PLANES words of 16 bytes, transposes them in registers, and writes as many. It does this `repeat` times. The other
// digits of the address are those of pixel_unshuffle.wgsl, counted in words.
//
// source: [..] 16 bytes
// moved:  [..] 16 bytes
//
// Cost: one dispatch; one read and one write of each element.

override PLANES: u32 = 2u; // or 4
override SPLIT: u32 = 0u; // 1: the source is interleaved; 0: the source is in planes

struct Pair {
  first: elem,
  second: elem,
}

// a0 a1 .., b0 b1 .. to a0 b0 a1 b1 ..
fn interleave(a: elem, b: elem) -> Pair {
  if params.halves == 1u {
    let low = (a & elem(0xffffu)) | (b << elem(16u));
    let high = (a >> elem(16u)) | (b & elem(0xffff0000u));
    return Pair(elem(low.x, high.x, low.y, high.y), elem(low.z, high.z, low.w, high.w));
  }
  return Pair(elem(a.x, b.x, a.y, b.y), elem(a.z, b.z, a.w, b.w));
}

// a0 b0 a1 b1 .. to a0 a1 .., b0 b1 ..
fn split(words: Pair) -> Pair {
  let even = elem(words.first.xz, words.second.xz);
  let odd = elem(words.first.yw, words.second.yw);
  if params.halves == 1u {
    return Pair((even & elem(0xffffu)) | (odd << elem(16u)), (even >> elem(16u)) | (odd & elem(0xffff0000u)));
  }
  return Pair(even, odd);
}

struct Place {
  rest: u32,
  read: u32,
  write: u32,
}

fn take(place: Place, size: u32, read: u32, write: u32) -> Place {
  let rest = place.rest / size;
  let digit = place.rest - rest * size;
  return Place(rest, place.read + digit * read, place.write + digit * write);
}

@compute @workgroup_size(128)
fn main(grid: Grid, lane: Lane) {
  let i = linear_group(grid) * 128u + lane.index;
  if i < params.tiles {
    var place = Place(i, params.source_base + params.offset, params.moved_base);
    place = take(place, params.size0, params.read0, params.write0);
    if params.digits > 1u { place = take(place, params.size1, params.read1, params.write1); }
    if params.digits > 2u { place = take(place, params.size2, params.read2, params.write2); }
    if params.digits > 3u { place = take(place, params.size3, params.read3, params.write3); }
    if params.digits > 4u { place = take(place, params.size4, params.read4, params.write4); }
    var read = place.read;
    var write = place.write;
    let second = params.plane;
    let third = params.plane_pair;
    for (var k = 0u; k < params.repeat; k++) {
      if PLANES == 2u {
        if SPLIT == 1u {
          let planes = split(Pair(source[read], source[read + 1u]));
          moved[write] = planes.first;
          moved[write + second] = planes.second;
        } else {
          let words = interleave(source[read], source[read + second]);
          moved[write] = words.first;
          moved[write + 1u] = words.second;
        }
      } else if SPLIT == 1u {
        let even = split(Pair(source[read], source[read + 1u]));
        let odd = split(Pair(source[read + 2u], source[read + 3u]));
        let ac = split(Pair(even.first, odd.first));
        let bd = split(Pair(even.second, odd.second));
        moved[write] = ac.first;
        moved[write + second] = bd.first;
        moved[write + third] = ac.second;
        moved[write + third + second] = bd.second;
      } else {
        let ac = interleave(source[read], source[read + third]);
        let bd = interleave(source[read + second], source[read + third + second]);
        let low = interleave(ac.first, bd.first);
        let high = interleave(ac.second, bd.second);
        moved[write] = low.first;
        moved[write + 1u] = low.second;
        moved[write + 2u] = high.first;
        moved[write + 3u] = high.second;
      }
      read += params.repeat_read;
      write += params.repeat_write;
    }
  }
}
