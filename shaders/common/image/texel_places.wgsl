
// A texel, and the place of its first number in a tensor that has the texels in another order.
struct TexelPlace {
  row: u32,
  column: u32,
  number: u32,
}

// The i-th texel in the tensor's order. It is named by four digits, the last of which is the innermost: a digit has a size, and a step of it
// so many rows, columns and numbers.
fn texel_place(i: u32) -> TexelPlace {
  let digit3 = i % params.size3;
  let rest2 = i / params.size3;
  let digit2 = rest2 % params.size2;
  let rest1 = rest2 / params.size2;
  let digit1 = rest1 % params.size1;
  let digit0 = rest1 / params.size1;
  return TexelPlace(
    digit0 * params.row0 + digit1 * params.row1 + digit2 * params.row2 + digit3 * params.row3,
    digit0 * params.column0 + digit1 * params.column1 + digit2 * params.column2 + digit3 * params.column3,
    digit0 * params.number0 + digit1 * params.number1 + digit2 * params.number2 + digit3 * params.number3,
  );
}

fn is_inside(place: TexelPlace) -> bool {
  return (place.row < params.rows) & (place.column < params.columns);
}
