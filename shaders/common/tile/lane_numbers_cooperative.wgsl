// As lane_numbers.wgsl, in the memory of `tile_cooperative.wgsl`'s results: with its own a workgroup would take the memory of another. So the
// numbers are lost when the next tile is made, and nothing may be shown before all invocations have their part of the last one
// (`workgroupBarrier`).
fn show_number(at: u32, number: f32) {
  put_result(at, number);
}

fn shown_number(at: u32) -> f32 {
  return result_number(at);
}

