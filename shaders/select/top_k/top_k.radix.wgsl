// Radix select over long rows, in five dispatches. The first four make histograms of 8-bit digits, highest digit first. Each counts the
// keys that begin with the digits found so far. After them the last selected key is known. The fifth counts, for each chunk, the keys
// greater than it and the keys equal to it.
//
// Every workgroup finds the digit of the previous histogram by itself, from 256 counts. The workgroup of a row's first chunk stores it for
// the next pass. Atomics are on integers, so the order of the workgroups does not matter.
//
// keys:      [rows, tokens] u32, 0 for tokens that are never selected
// histogram: [rows, 4, 256] u32, zeros before the first pass
// state:     [rows, 12] u32: live tokens, number of wanted tokens, number of selected tokens, unused; then, after each histogram, the
//            digits found so far and how many of the keys that begin with them are selected
// tallies:   [rows, chunks, 2] u32: keys greater than the last selected key, and keys equal to it
// kept:      [rows] u32
//
// Cost: one read of the keys in each dispatch, one workgroup atomic for each run of equal digits of an invocation.

const NO_DIGIT = 256u;
var<workgroup> bins: array<atomic<u32>, 256>;
var<workgroup> found_digit: u32;
var<workgroup> found_wanted: u32;

@compute @workgroup_size(WG)
fn main(grid: Grid, lane: Lane) {
  let id = linear_group(grid);
  if id >= params.groups { return; }
  let row = id / params.chunks;
  let chunk = id % params.chunks;
  let row_state = params.state_base + row * 12u;
  let row_histogram = params.histogram_base + row * 1024u;

  // The digits found by the earlier passes, left-aligned, and the number of wanted keys that begin with them.
  var prefix = 0u;
  var wanted = state[row_state + 1u];
  if params.digits > 0u {
    if params.digits > 1u {
      prefix = state[row_state + 2u * params.digits];
      wanted = state[row_state + 2u * params.digits + 1u];
    }
    // From the highest digit down: the digit at which the sum of the counts reaches the wanted number.
    let digit = 255u - scan_rank(lane);
    let count = atomicLoad(&histogram[row_histogram + (params.digits - 1u) * 256u + digit]);
    let scan = scan_add(lane, count);
    if params.digits == 1u {
      wanted = min(wanted, scan.total);
    }
    if lane.index == 0u {
      found_digit = 255u; // if nothing is wanted: no key is greater, and no equal key is taken
      found_wanted = 0u;
    }
    workgroupBarrier();
    if scan.before < wanted && wanted <= scan.before + count {
      found_digit = digit;
      found_wanted = wanted - scan.before;
    }
    workgroupBarrier();
    if chunk == 0u && lane.index == 0u {
      if params.digits == 1u {
        state[row_state + 2u] = wanted;
        kept[params.kept_base + row] = wanted;
      }
      state[row_state + 2u * params.digits + 2u] = prefix | (found_digit << (32u - 8u * params.digits));
      state[row_state + 2u * params.digits + 3u] = found_wanted;
    }
    prefix |= found_digit << (32u - 8u * params.digits);
  }

  let row_keys = params.keys_base + row * params.tokens;
  let begin = chunk * params.chunk;
  let end = min(begin + params.chunk, params.tokens);
  if params.digits < 4u {
    atomicStore(&bins[lane.index], 0u);
    workgroupBarrier();
    var run_digit = NO_DIGIT;
    var run = 0u;
    for (var token = begin + lane.index; token < end; token += WG) {
      let key = keys[row_keys + token];
      if key == KEY_DEAD || ((key ^ prefix) & params.known) != 0u { continue; }
      let digit = (key >> (24u - 8u * params.digits)) & 255u;
      if digit != run_digit {
        if run > 0u {
          atomicAdd(&bins[run_digit], run);
        }
        run_digit = digit;
        run = 0u;
      }
      run++;
    }
    if run > 0u {
      atomicAdd(&bins[run_digit], run);
    }
    workgroupBarrier();
    let count = atomicLoad(&bins[lane.index]);
    if count > 0u {
      atomicAdd(&histogram[row_histogram + params.digits * 256u + lane.index], count);
    }
  } else {
    // Both counts are at most 32768, the largest chunk.
    var both = 0u;
    for (var token = begin + lane.index; token < end; token += WG) {
      let key = keys[row_keys + token];
      both += select(0u, 65536u, key > prefix) + select(0u, 1u, key == prefix);
    }
    both = reduce_add_u32(lane, both);
    if lane.index == 0u {
      tallies[params.tallies_base + 2u * id] = both >> 16u;
      tallies[params.tallies_base + 2u * id + 1u] = both & 0xffffu;
    }
  }
}
