// The logits that attention_score keeps on a CPU, behind attention_place: [B, heads, ceil(R / 16), ceil(N / 32), 16, 8] of four f32, so that a
// subgroup of `tile_lanes_subgroup.wgsl` has what it writes or reads in one piece. The including shader declares `params`.
// Where four keys of the r-th row's 16 rows are kept: those of the next row are eight further on, and what is beyond the last row or key has
// a place too.
fn kept_at(place: Place, r: u32, key: u32) -> u32 {
  let sixteens = (place.batch * params.heads + place.head) * ((params.rows + 15u) / 16u) + r / 16u;
  return params.logits_base + (sixteens * ((params.key_count + 31u) / 32u) + key / 32u) * 128u + key % 32u / 4u;
}

