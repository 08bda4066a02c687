// Merges neighbouring sorted runs. Every pair finds its place by binary search in the other run. Pairs of the left run have lower indices,
// so they go first among equal keys, and every place is unique.
//
// source: [rows, entries, 2] u32: key and index, in sorted runs of `run` pairs
// merged: [rows, entries, 2] u32, in sorted runs of 2 * `run`
//
// Cost: one read and one write of each pair, log2(run) reads of keys.

@compute @workgroup_size(256)
fn main(grid: Grid, lane: Lane) {
  let id = linear_group(grid);
  if id >= params.groups { return; }
  let row = (id / params.chunks) * params.entries;
  let entry = (id % params.chunks) * 256u + lane.index;
  if entry >= params.entries { return; }
  let key = source[params.source_base + 2u * (row + entry)];
  let index = source[params.source_base + 2u * (row + entry) + 1u];
  let run = entry / params.run;
  let right = (run & 1u) == 1u;
  let other = (run ^ 1u) * params.run;

  // The number of pairs of the other run that go before this one.
  var low = min(other, params.entries);
  var high = min(other + params.run, params.entries);
  let other_begin = low;
  while low < high {
    let middle = low + (high - low) / 2u;
    let other_key = source[params.source_base + 2u * (row + middle)];
    if other_key > key || (right && other_key == key) {
      low = middle + 1u;
    } else {
      high = middle;
    }
  }
  let place = (run & 0xfffffffeu) * params.run + (entry - run * params.run) + (low - other_begin);
  merged[params.merged_base + 2u * (row + place)] = key;
  merged[params.merged_base + 2u * (row + place) + 1u] = index;
}
