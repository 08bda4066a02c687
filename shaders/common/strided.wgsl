// Where element i of a tensor lies whose elements are apart.
fn strided_place(i: u32) -> u32 {
  var rest = i;
  var place = rest % params.dim4 * params.step4;
  rest /= params.dim4;
  place += rest % params.dim3 * params.step3;
  rest /= params.dim3;
  place += rest % params.dim2 * params.step2;
  rest /= params.dim2;
  place += rest % params.dim1 * params.step1;
  return place + rest / params.dim1 * params.step0;
}

