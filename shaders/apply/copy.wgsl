// Copies a tensor bit for bit: 16, 4 or 2 bytes an invocation.
//
// source: [elements] elem
// copied: [elements] elem
//
// Cost: one read and one write of each element.
struct Params {
  source_base: u32,
  copied_base: u32,
  elements: u32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> source: array<elem>;
@group(0) @binding(2) var<storage, read_write> copied: array<elem>;

@compute @workgroup_size(128)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  lane: Lane,
) {
  let i = linear_group(group, groups) * 128u + lane.index;
  if i < params.elements {
    copied[params.copied_base + i] = source[params.source_base + i];
  }
}
