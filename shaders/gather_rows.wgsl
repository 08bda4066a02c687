// Copies rows by index, bit for bit: gathered[b, h, m] = source[b, h, index[b, m]].
// An index at or above `source_rows` (NONE among them) gives a row of `empty`.
//
// source:   [batch, heads, source_rows, width] elem
// index:    [batch, rows] u32, or [rows] for all of the batch (index_stride 0)
// gathered: [batch, heads, rows, width] elem
//
// An invocation moves one elem: 16, 4 or 2 bytes.
// Cost: one dispatch; each gathered row is read once and written once.
struct Params {
  source_base: u32,
  index_base: u32,
  gathered_base: u32,
  elements: u32,
  width: u32,
  rows: u32,
  heads: u32,
  source_rows: u32,
  index_stride: u32,
  empty: u32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> source: array<elem>;
@group(0) @binding(2) var<storage, read> index: array<u32>;
@group(0) @binding(3) var<storage, read_write> gathered: array<elem>;

@compute @workgroup_size(128)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  lane: Lane,
) {
  let i = linear_group(group, groups) * 128u + lane.index;
  if i < params.elements {
    let row = i / params.width;
    let column = i - row * params.width;
    let head = row / params.rows; // of the whole batch
    let m = row - head * params.rows;
    let token = index[params.index_base + head / params.heads * params.index_stride + m];
    var value = elem(params.empty);
    if token < params.source_rows {
      value = source[params.source_base + (head * params.source_rows + token) * params.width + column];
    }
    gathered[params.gathered_base + i] = value;
  }
}
