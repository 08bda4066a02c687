// 16 numbers for each of the 64 rows or columns of a tile, that invocations show each other.
var<workgroup> lane_numbers: array<f32, 1024>;

fn show_number(at: u32, number: f32) {
  lane_numbers[at] = number;
}

fn shown_number(at: u32) -> f32 {
  return lane_numbers[at];
}

