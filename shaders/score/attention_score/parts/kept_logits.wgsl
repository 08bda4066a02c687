// The logits that attention_score keeps: [B, heads, ceil(R / 16), ceil(N / 32), 16, 8] of four f32. With this layout, a subgroup of
// `tile_lanes_subgroup.wgsl` reads or writes one contiguous piece. Included after attention_place. The including shader declares `params`.

// Where the four keys from this one on are kept for row r. Those of the next row of the same 16 are eight further on. Rows and keys
// past the last one have places too.
fn kept_at(place: Place, r: u32, key: u32) -> u32 {
  let sixteens = (place.batch * params.heads + place.head) * ((params.rows + 15u) / 16u) + r / 16u;
  return params.logits_base + (sixteens * ((params.key_count + 31u) / 32u) + key / 32u) * 128u + r % 16u * 8u + key % 32u / 4u;
}

