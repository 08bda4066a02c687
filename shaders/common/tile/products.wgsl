// What a tile adds up: products, so that its sums are dot products.

// What one step along the elems adds to a row: the products of `a` with each of four columns.
fn products(a: elem_f32, b0: elem_f32, b1: elem_f32, b2: elem_f32, b3: elem_f32) -> vec4<f32> {
  return vec4<f32>(elem_dot(a, b0), elem_dot(a, b1), elem_dot(a, b2), elem_dot(a, b3));
}

// The same for one number of a row, and of four columns, added to `sums`.
fn plus_products(a: vec4<f32>, columns: vec4<f32>, sums: vec4<f32>) -> vec4<f32> {
  return fma(a, columns, sums);
}

