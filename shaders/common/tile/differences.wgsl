// What a tile adds up: squared differences, so that its sums are squared distances. It has the functions of `products.wgsl`. Equal rows have
// distance 0, and swapping two rows gives the same bits.

fn products(a: elem_f32, b0: elem_f32, b1: elem_f32, b2: elem_f32, b3: elem_f32) -> vec4<f32> {
  let d0 = a - b0;
  let d1 = a - b1;
  let d2 = a - b2;
  let d3 = a - b3;
  return vec4<f32>(elem_dot(d0, d0), elem_dot(d1, d1), elem_dot(d2, d2), elem_dot(d3, d3));
}

fn plus_products(a: vec4<f32>, columns: vec4<f32>, sums: vec4<f32>) -> vec4<f32> {
  let differences = a - columns;
  return fma(differences, differences, sums);
}

