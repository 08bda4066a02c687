//! How near every token is to a centre.

use crate::compare::{EPSILON_F32, storage_error};
use crate::tensor::Elem;

/// `sum_k exp(-|x - center|^2 / (2 2^k))` for k from -3 to 1, and the largest error on the GPU.
///
/// The squared distance D has a relative error of `(C + 4) eps`: that of each difference, twice, that of its square, and those of the
/// sums. An exponent errs by the same share of itself. WGSL's exp is within `3 + 2 |exponent|` ulp (of 2 eps), and five sums add 5 ulp. A
/// number below the smallest normal one may become 0.
///
/// A NaN, or the difference of equal infinities, gives NaN. A token that is infinitely far has 0.
pub fn gaussian_similarity(x: &[f32], center: &[f32]) -> (f64, f64) {
    let distance: f64 = x.iter().zip(center).map(|(x, c)| (f64::from(*x) - f64::from(*c)).powi(2)).sum();
    let (mut total, mut error) = (0.0, 0.0);
    for k in -3..=1 {
        let exponent = distance / (2.0 * 2f64.powi(k));
        let relative = ((x.len() as f64 + 4.0) * exponent + 2.0 * (3.0 + 2.0 * exponent)) * EPSILON_F32;
        total += (-exponent).exp();
        // A weight that is 0 in f64 is 0 in f32.
        let part = (-exponent).exp();
        error += if part > 0.0 { part * relative.exp_m1() } else { 0.0 } + f64::from(f32::MIN_POSITIVE);
    }
    let flushed = 8.0 * x.len() as f64 * f64::from(f32::MIN_POSITIVE);
    let error = error + 10.0 * EPSILON_F32 * total + flushed + storage_error(Elem::F32, total);
    (total, if total.is_nan() { 0.0 } else { error })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_and_far() {
        assert_eq!(gaussian_similarity(&[1.0, 2.0], &[1.0, 2.0]).0, 5.0);
        let expected: f64 = [-16.0f64, -8.0, -4.0, -2.0, -1.0].iter().map(|e| e.exp()).sum();
        let (total, error) = gaussian_similarity(&[0.0, 2.0], &[0.0, 0.0]);
        assert!((total - expected).abs() < 1e-12 && error < 1e-6);
        let (far, error) = gaussian_similarity(&[1e30], &[-1e30]);
        assert!(far == 0.0 && error < 1e-36);
        let infinite = gaussian_similarity(&[f32::INFINITY], &[1.0]);
        assert!(infinite.0 == 0.0 && infinite.1 < 1e-36);
        for (x, center) in [(f32::NAN, 0.0), (f32::INFINITY, f32::INFINITY)] {
            let (total, error) = gaussian_similarity(&[x], &[center]);
            assert!(total.is_nan() && error == 0.0);
        }
    }
}
