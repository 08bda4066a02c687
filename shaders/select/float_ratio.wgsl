// The results of m (n / m) and of 1 / (n / m) in 64-bit floats, rounded down, computed in integers.
//
// n:       [B] u32; n above m counts as m
// m:       [B] u32; m counts as at most `most`, which is at most 2^26
// product: [B] u32: n, or n - 1 if the float of m (n / m) is below n
// inverse: [B] u32: floor(m / n), or one less if n divides m and the float is below the quotient; NONE if n is 0
//
// Let n be in [2^k, 2^(k+1)), m in [2^a, 2^(a+1)), and n < m. The float of n / m is Q / 2^s, where Q has 53 bits and s = 52 + a - k, or one
// more if n / 2^k < m / 2^a.
//
// The product: rounding n / m down loses r / 2^s of the product, where r = n 2^s mod m. It rounds down only if r is at most m / 2. Floats
// below n are 2^(k-52) apart, or half as far if n is a power of two. The product is n if it loses less than half that distance. So it is n
// if r is at most 2^(a-1). With s one larger the limit is 2^a, which m / 2 never reaches.
//
// The inverse: let n divide m, t = m / n in (2^k, 2^(k+1)), and s = 53 + k. If n / m is rounded up by u / 2^s, where u = t - 2^s mod t,
// then 1 / (n / m) is t u / 2^s below t. It is another number if that is more than 2^(k-53), which means u > 2^(2 k) / t.
//
// Cost: one dispatch, a few hundred operations per row.

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

// The product, for n < m.
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
fn main(grid: Grid, lane: Lane) {
  let row = linear_group(grid) * 64u + lane.index;
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
