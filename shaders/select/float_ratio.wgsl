// What 64-bit floats make of m (n / m) and of 1 / (n / m), rounded down, in whole numbers.
//
// n: [B] u32, of more than m there are m
// m: [B] u32, at most `most` of them, which is at most 2^26
// product: [B] u32: n, or n - 1 where the float of m (n / m) is below n
// inverse: [B] u32: m / n, or one less where n divides m and the float is below that; NONE where n is 0
//
// With n in [2^k, 2^(k+1)), m in [2^a, 2^(a+1)) and n < m, the float of n / m is Q / 2^s with 53 bits in Q: s = 52 + a - k, one more
// where n / 2^k < m / 2^a. Rounded down it misses r / 2^s of the product, r = n 2^s mod m, which is at most m / 2. Floats below n lie
// 2^(k-52) apart, half as far where n is a power of two, and a product that misses less than half of that is n: r of at most 2^(a-1), or
// of at most 2^a, which m / 2 does not reach. For the inverse let n divide m, t = m / n in (2^k, 2^(k+1)) and s = 53 + k. Rounded up by
// u / 2^s, u = t - 2^s mod t, 1 / (n / m) is t u / 2^s below t, and another number where that is more than 2^(k-53): u > 2^(2 k) / t.
//
// Cost: one dispatch, some hundred operations a row.

const NONE = 0xffffffffu;

// x 2^times mod m, for x < m < 2^31.
fn doubled(x: u32, times: u32, m: u32) -> u32 {
  var rest = x;
  for (var i = 0u; i < times; i++) {
    rest *= 2u;
    rest -= select(0u, m, rest >= m);
  }
  return rest;
}

// For n < m.
fn product_of(n: u32, m: u32) -> u32 {
  let k = firstLeadingBit(n);
  let a = firstLeadingBit(m);
  let above = (n << (a - k)) >= m;
  let power = n == (1u << k);
  let rest = doubled(n, 53u - u32(above) + a - k, m);
  let below = power != above && rest > (1u << (a - 1u)) && 2u * rest <= m;
  return n - u32(below);
}

fn inverse_of(n: u32, m: u32) -> u32 {
  let t = m / n;
  let k = firstLeadingBit(t);
  if m % n != 0u || t == (1u << k) {
    return t;
  }
  let rest = doubled(1u, 53u + k, t);
  // 2^(2 k) / t, by long division.
  var quotient = 0u;
  var left = 1u;
  for (var i = 0u; i < 2u * k; i++) {
    left *= 2u;
    quotient *= 2u;
    let fits = left >= t;
    quotient += u32(fits);
    left -= select(0u, t, fits);
  }
  return t - u32(2u * rest > t && t - rest > quotient);
}

@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  lane: Lane,
) {
  let row = linear_group(group, groups) * 64u + lane.index;
  if row >= params.rows { return; }
  let whole = min(m[params.m_base + row], params.most);
  let part = min(n[params.n_base + row], whole);
  var of_product = part;
  var of_inverse = NONE;
  if part > 0u {
    if part < whole {
      of_product = product_of(part, whole);
    }
    of_inverse = inverse_of(part, whole);
  }
  product[params.product_base + row] = of_product;
  inverse[params.inverse_base + row] = of_inverse;
}
