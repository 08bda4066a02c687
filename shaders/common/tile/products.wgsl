// What a tile adds up: products, so that its sums are dot products.

// What one step along the elems adds to a row: the products of `a` with each of four columns.
fn products(a: elem_f32, b0: elem_f32, b1: elem_f32, b2: elem_f32, b3: elem_f32) -> vec4<f32> {
  return vec4<f32>(elem_dot(a, b0), elem_dot(a, b1), elem_dot(a, b2), elem_dot(a, b3));
}

// The same for one number of a row, and of four columns, added to `sums`.
fn plus_products(a: vec4<f32>, columns: vec4<f32>, sums: vec4<f32>) -> vec4<f32> {
  return fma(a, columns, sums);
}

// `sum` and the products of an elem with another, number by number, as `plus_products` adds them.
fn plus_elem(a: elem_f32, b: elem_f32, sum: f32) -> f32 {
  let one = fma(elem_number(a, 0u), elem_number(b, 0u), sum);
  if ELEM_WIDTH == 1u { return one; }
  let two = fma(elem_number(a, 1u), elem_number(b, 1u), one);
  let three = fma(elem_number(a, 2u), elem_number(b, 2u), two);
  return fma(elem_number(a, 3u), elem_number(b, 3u), three);
}
