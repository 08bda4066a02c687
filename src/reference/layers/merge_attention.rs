//! Two attentions of the same rows as one.

use crate::compare::storage_error;
use crate::reference::layers::attention::product;
use crate::reference::score::attention_score::{ULP, maximum};
use crate::tensor::Elem;

/// A row's log-sum-exp over both parts of its keys, and the share of each part.
fn shares(first: f32, second: f32) -> (f64, [f64; 2]) {
    let lses = [first, second].map(f64::from);
    let largest = maximum(lses[0], lses[1]);
    if largest == f64::NEG_INFINITY {
        return (largest, [0.0; 2]);
    }
    let weights = lses.map(|lse| (lse - largest).exp());
    let total: f64 = weights.iter().sum();
    (largest + total.ln(), weights.map(|w| w / total))
}

/// `sum_p share_p rows_p` of two parts, and the log-sum-exp of both together. Each part has rows of `channels` and their log-sum-exp.
///
/// A part that saw nothing counts as nothing, whatever it holds. An infinity or NaN of a part that saw something is in the result,
/// however small the part's share.
pub fn merge_attention(parts: [(&[f32], &[f32]); 2], channels: usize) -> (Vec<f32>, Vec<f32>) {
    let [(first, first_lse), (second, second_lse)] = parts;
    let (mut rows, mut lses) = (Vec::new(), Vec::new());
    for (row, (&a, &b)) in first_lse.iter().zip(second_lse).enumerate() {
        let (lse, [of_first, of_second]) = shares(a, b);
        let taken = |lse: f32, share: f64, x: f32| if lse == f32::NEG_INFINITY { 0.0 } else { product(share, f64::from(x)) };
        let at = row * channels..(row + 1) * channels;
        rows.extend(first[at.clone()].iter().zip(&second[at]).map(|(&x, &y)| (taken(a, of_first, x) + taken(b, of_second, y)) as f32));
        lses.push(lse as f32);
    }
    (rows, lses)
}

/// Largest errors of [`merge_attention`] on the GPU, the rows stored as `elem`.
///
/// The weight of the larger part is `exp(0)`, 1. That of the other, at a distance x, is within `(3 + 3 x) ulp`: by WGSL's exp, and by the
/// rounded difference. Below the smallest normal number it may be 0. The products add 2 ulp, the sum 1, the quotient 4. The logarithm is
/// within 2^-21 or 3 ulp, and the last sum adds 1 ulp.
///
/// If a part has no weight, the result is a copy of the other. A NaN log-sum-exp makes both results NaN. Infinite and NaN results are
/// exact.
pub fn merge_attention_bound(parts: [(&[f32], &[f32]); 2], channels: usize, elem: Elem) -> (Vec<f64>, Vec<f64>) {
    let [(first, first_lse), (second, second_lse)] = parts;
    let (mut rows, mut lses) = (Vec::new(), Vec::new());
    let finite = |bound: f64| if bound.is_finite() { bound } else { f64::INFINITY };
    for (row, (&a, &b)) in first_lse.iter().zip(second_lse).enumerate() {
        let (lse, [of_first, of_second]) = shares(a, b);
        let alone = a == f32::NEG_INFINITY || b == f32::NEG_INFINITY;
        let distance = (f64::from(a) - f64::from(b)).abs();
        let smaller = of_first.min(of_second);
        // A weight of 1 is exact.
        let relative = (3.0 + 3.0 * distance) * ULP;
        let of_weight = smaller * relative.min(1.0).exp_m1() + f64::from(f32::MIN_POSITIVE);
        for at in row * channels..(row + 1) * channels {
            let [x, y] = [first[at], second[at]].map(|x| f64::from(x).abs());
            let magnitude = of_first * x + of_second * y;
            let error = of_weight * (x + y) * 2.0 + 8.0 * ULP * magnitude;
            rows.push(if alone || lse.is_nan() || !(x + y).is_finite() {
                0.0
            } else {
                finite(error + storage_error(elem, magnitude + error))
            });
        }
        lses.push(if alone || lse.is_nan() { 0.0 } else { finite(2.0 * of_weight + 2f64.powi(-21) + 5.0 * ULP * (1.0 + lse.abs())) });
    }
    (rows, lses)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_by_hand() {
        // Sums of 1 and 3 exponentials, of 2 and nothing, of nothing at all.
        let none = f32::NEG_INFINITY;
        let lses = [[0.0, 2f32.ln(), none], [3f32.ln(), none, none]];
        let parts = [(&[4.0, 5.0, f32::NAN][..], &lses[0][..]), (&[8.0, f32::NAN, f32::NAN][..], &lses[1][..])];
        let (rows, lse) = merge_attention(parts, 1);
        assert!((rows[0] - 7.0).abs() < 1e-6 && rows[1..] == [5.0, 0.0], "{rows:?}");
        assert!((lse[0] - 4f32.ln()).abs() < 1e-6 && lse[1..] == [2f32.ln(), none], "{lse:?}");
        let (rows, lses) = merge_attention_bound(parts, 1, Elem::F32);
        assert!(rows[0] > 0.0 && rows[0] < 2e-5 && rows[1..] == [0.0, 0.0], "{rows:?}");
        assert!(lses[0] > 0.0 && lses[0] < 5e-6 && lses[1..] == [0.0, 0.0], "{lses:?}");
    }
}
